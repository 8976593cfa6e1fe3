#include "lookup/io/admin.h"

#include <memory>

namespace trunkline::lookup {
namespace {

using nlohmann::json;

json rebuild(Projector& projector) {
  const RebuildReport report = projector.rebuild();
  return {{"events", report.events},
          {"documents", report.documents},
          {"position", report.position},
          {"seconds", report.seconds}};
}

json checksum(ReadModel& model) {
  const ReadModel::Digest digest = model.digest();
  return {{"checksum", digest.sha256},
          {"documents", digest.documents},
          {"position", digest.position}};
}

json poison_list(ReadModel& model) {
  json events = json::array();
  constexpr size_t kMaxListed = 1000;
  const auto all = model.poison();
  for (const Poison& poison : all) {
    if (events.size() == kMaxListed) break;
    events.push_back({{"position", poison.position},
                      {"stream", poison.stream},
                      {"version", poison.version},
                      {"type", poison.type},
                      {"error", poison.error},
                      {"retried", poison.retried}});
  }
  return {{"poison", all.size()}, {"events", events}};
}

}  // namespace

std::vector<runtime::AdminOp> admin_ops(std::string read_model_dsn, Projector& projector,
                                        const PositionGate& gate) {
  const auto model = std::make_shared<ReadModel>(std::move(read_model_dsn));
  return {
      {"rebuild", [&projector](const json&) { return rebuild(projector); }},
      {"checksum", [model](const json&) { return checksum(*model); }},
      {"poison", [model](const json&) { return poison_list(*model); }},
      {"retry-poison",
       [&projector](const json& asked) {
         const bool one = asked.contains("stream") && asked["stream"].is_string();
         const std::string stream = one ? asked["stream"].get<std::string>() : "";
         return json{{"still_poisoned", projector.retry_poison(stream)}};
       }},
      {"status",
       [&projector, &gate](const json&) {
         return json{{"ready", projector.ready()}, {"position", gate.position()}};
       }},
  };
}

}  // namespace trunkline::lookup
