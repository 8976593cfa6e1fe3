#include "replication/io/replay_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "bus/streams.h"
#include "replication/domain/group_replay.h"

namespace trunkline::replication {
namespace {

using v1::QueryAnswer;

constexpr size_t kMostWaiting = 32;
constexpr uint32_t kMostRows = 1000;
constexpr size_t kMostBytes = 500'000;  // a message holds one megabyte
// Nobody waits for an answer any more.
constexpr std::chrono::seconds kTooLate{10};

QueryAnswer failed(v1::QueryStatus status, std::string message) {
  QueryAnswer answer;
  answer.set_status(status);
  answer.set_message(std::move(message));
  return answer;
}

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

}  // namespace

ReplayService::ReplayService(bus::Bus& bus, std::string log_dsn)
    : bus_(bus), log_dsn_(std::move(log_dsn)), thread_([this] { run(); }) {
  subscription_ = bus_.subscribe(
      bus::kReplicationSubject, [this](bus::Message&& message) { take(std::move(message)); },
      "replication");
}

ReplayService::~ReplayService() {
  subscription_.reset();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void ReplayService::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  Asked asked{message.reply, {}, std::chrono::steady_clock::now()};
  if (!asked.query.ParseFromString(message.data)) {
    return send(message.reply, failed(v1::QUERY_STATUS_BAD_FIELD, "the query cannot be parsed"));
  }
  {
    const std::lock_guard lock(mutex_);
    if (asked_.size() < kMostWaiting) {
      asked_.push_back(std::move(asked));
      wake_.notify_one();
      return;
    }
  }
  send(message.reply, failed(v1::QUERY_STATUS_UNAVAILABLE, "too many queries are waiting"));
}

void ReplayService::run() {
  eventlog::Log log(log_dsn_);
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !asked_.empty(); });
    if (stopping_) return;
    const Asked asked = std::move(asked_.front());
    asked_.pop_front();
    if (std::chrono::steady_clock::now() - asked.at > kTooLate) continue;
    lock.unlock();
    send(asked.reply, answer(log, asked.query));
    lock.lock();
  }
}

QueryAnswer ReplayService::answer(eventlog::Log& log, const v1::Query& query) {
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

void ReplayService::send(const std::string& reply, const QueryAnswer& answer) {
  try {
    bus_.publish(reply, answer.SerializeAsString());
  } catch (const bus::BusUnavailable& error) {
    spdlog::warn("an answer could not be sent: {}", error.what());
  }
}

}  // namespace trunkline::replication
