#include "replication/io/replay_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "bus/streams.h"
#include "replication/domain/group_replay.h"
#include "runtime/query_answer.h"

namespace trunkline::replication {
namespace {

using runtime::failed;
using v1::QueryAnswer;
using Clock = std::chrono::steady_clock;

constexpr size_t kMostWaiting = 32;
constexpr uint32_t kMostRows = 1000;
constexpr size_t kMostBytes = 500'000;  // a message holds one megabyte
// Nobody waits for an answer any more.
constexpr std::chrono::seconds kTooLate{10};

const char* name_of(ReplayResult result) {
  switch (result) {
    case ReplayResult::same:
      return "SAME";
    case ReplayResult::different:
      return "DIFFERENT";
    case ReplayResult::not_recorded:
      return "NOT_RECORDED";
  }
  return "";
}

nlohmann::ordered_json to_json(const Ruling& ruling) {
  return {{"rule", ruling.rule}, {"why", ruling.why}, {"assigns", ruling.assigns}};
}

std::string to_json(const Replayed& decision) {
  nlohmann::ordered_json out = {{"position", decision.position},
                                {"version", decision.version},
                                {"time", format_rfc3339(decision.recorded_at)},
                                {"event", decision.event},
                                {"result", name_of(decision.result)},
                                {"why", decision.why},
                                {"then", to_json(decision.then)}};
  if (decision.result != ReplayResult::not_recorded) out["now"] = to_json(decision.now);
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<LoggedEvent> parsed(const std::vector<eventlog::RecordedEvent>& events) {
  std::vector<LoggedEvent> out;
  for (const eventlog::RecordedEvent& event : events) {
    LoggedEvent logged{.position = event.position, .recorded_at = event.recorded_at};
    if (!logged.event.ParseFromString(event.payload)) {
      throw eventlog::LogCorrupt("event " + std::to_string(event.position) + " cannot be parsed");
    }
    out.push_back(std::move(logged));
  }
  return out;
}

QueryAnswer page_of(const std::vector<Replayed>& decisions, const v1::ReplayFailovers& asked) {
  const uint32_t most = asked.limit() == 0 ? kMostRows : std::min(asked.limit(), kMostRows);
  QueryAnswer out;
  size_t bytes = 0;
  for (auto it = decisions.rbegin(); it != decisions.rend(); ++it) {
    if (asked.position() != 0 && it->position != asked.position()) continue;
    if (asked.before_position() != 0 && it->position >= asked.before_position()) continue;
    std::string json = to_json(*it);
    const bool is_full = static_cast<uint32_t>(out.json_size()) == most ||
                         (out.json_size() > 0 && bytes + json.size() > kMostBytes);
    if (is_full) return out;
    bytes += json.size();
    out.add_json(std::move(json));
    out.set_next_marker(std::to_string(it->position));
  }
  out.clear_next_marker();
  if (asked.position() != 0 && out.json_size() == 0) {
    return failed(v1::QUERY_STATUS_NOT_FOUND, "no decision about a failover is there");
  }
  return out;
}

QueryAnswer answer_to(eventlog::Log& log, const v1::Query& query) {
  if (!query.has_replay_failovers()) {
    return failed(v1::QUERY_STATUS_BAD_FIELD, "this is not asked of replication");
  }
  const v1::ReplayFailovers& asked = query.replay_failovers();
  if (!is_uuid(asked.instance_id())) return failed(v1::QUERY_STATUS_NOT_FOUND, "not there");
  try {
    const auto stream = eventlog::stream_name("group", asked.instance_id());
    return page_of(replay_decisions(parsed(log.read_stream(stream, 0))), asked);
  } catch (const std::exception& error) {
    spdlog::warn("failovers of {} cannot be replayed: {}", asked.instance_id(), error.what());
    return failed(v1::QUERY_STATUS_UNAVAILABLE, error.what());
  }
}

}  // namespace

ReplayService::ReplayService(bus::Bus& bus, std::string log_dsn)
    : bus_(bus),
      pool_("replay", 1, {.waiting = kMostWaiting, .waiting_a_lane = kMostWaiting / 4},
            [log_dsn] {
              return std::make_unique<eventlog::Log>(log_dsn +
                                                     " options='-c statement_timeout=8000'");
            }) {
  subscription_ = bus_.subscribe(
      bus::kReplicationSubject, [this](bus::Message&& message) { take(std::move(message)); },
      "replication");
}

void ReplayService::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  v1::Query query;
  if (!query.ParseFromString(message.data)) {
    return runtime::send_answer(bus_, message.reply, runtime::cannot_be_parsed());
  }
  const std::string lane =
      query.scope().all_projects() ? "platform" : query.scope().project_id();
  const auto work = [this, reply = message.reply, query](eventlog::Log& log) {
    runtime::send_answer(bus_, reply, answer_to(log, query));
  };
  pool_.post({lane, false, runtime::FairClock::now() + kTooLate, {}},
             {work, [this, reply = message.reply] {
                runtime::send_answer(bus_, reply, runtime::too_many_waiting());
              }});
}

}  // namespace trunkline::replication
