#include "lookup/io/admin.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

namespace trunkline::lookup {
namespace {

using nlohmann::json;
constexpr size_t kMaxWaiting = 16;

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

Admin::Admin(bus::Bus& bus, std::string read_model_dsn, Projector& projector,
             const PositionGate& gate)
    : bus_(bus),
      model_(std::move(read_model_dsn)),
      projector_(projector),
      gate_(gate),
      thread_([this] { run(); }) {}

Admin::~Admin() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Admin::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  const std::lock_guard lock(mutex_);
  if (requests_.size() >= kMaxWaiting) return;
  requests_.push_back(std::move(message));
  wake_.notify_one();
}

std::string Admin::handle(const std::string& request) {
  json answer = json::object();
  try {
    const json asked = json::parse(request, nullptr, false);
    const std::string op = asked.is_object() && asked.contains("op") && asked["op"].is_string()
                               ? asked["op"].get<std::string>()
                               : "";
    if (op == "rebuild") {
      answer = rebuild(projector_);
    } else if (op == "checksum") {
      answer = checksum(model_);
    } else if (op == "poison") {
      answer = poison_list(model_);
    } else if (op == "retry-poison") {
      const bool one = asked.contains("stream") && asked["stream"].is_string();
      const std::string stream = one ? asked["stream"].get<std::string>() : "";
      answer = {{"still_poisoned", projector_.retry_poison(stream)}};
    } else if (op == "status") {
      answer = {{"ready", projector_.ready()}, {"position", gate_.position()}};
    } else {
      return json{{"ok", false},
                  {"error", "op: rebuild, checksum, poison, retry-poison or status"}}
          .dump();
    }
    answer["ok"] = true;
  } catch (const std::exception& error) {
    answer = {{"ok", false}, {"error", error.what()}};
  }
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

void Admin::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !requests_.empty(); });
    if (stopping_) return;
    const bus::Message message = std::move(requests_.front());
    requests_.pop_front();
    lock.unlock();
    try {
      bus_.publish(message.reply, handle(message.data));
    } catch (const bus::BusUnavailable& error) {
      spdlog::warn("an answer could not be sent: {}", error.what());
    }
    lock.lock();
  }
}

}  // namespace trunkline::lookup
