#include "metering/io/usage_trace.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "eventlog/log.h"
#include "eventlog/row.h"
#include "metering/domain/usage_explain.h"
#include "metering/domain/usage_state.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {
namespace {

using eventlog::RecordedEvent;

const std::string kColumns =
    "position,stream,version,type,schema_version,payload,command_id,causation_id,correlation_id,"
    "actor,traceparent,recorded_us,previous_hash,hash";

// Without the newest record's position: so long after the line's end measurements may still come.
constexpr int64_t kLateUs = int64_t{3'600} * 1'000'000;
// The log's clock may have been set back by as much in the midst of what a line was made from.
constexpr int64_t kStepUs = int64_t{3'600} * 1'000'000;

std::vector<RecordedEvent> events_from(const pqxx::result& rows) {
  std::vector<RecordedEvent> out;
  for (const auto& row : rows) out.push_back(eventlog::event_of(row, 0));
  return out;
}

std::string event_json(const RecordedEvent& event, const google::protobuf::Message& payload) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const bool good =
      google::protobuf::util::MessageToJsonString(payload, &text, options).ok();
  const nlohmann::ordered_json out = {
      {"position", event.position},
      {"time", format_rfc3339(event.recorded_at)},
      {"type", event.type},
      {"stream", event.stream},
      {"version", event.version},
      {"actor", event.metadata.actor},
      {"command_id", event.metadata.command_id},
      {"correlation_id", event.metadata.correlation_id},
      {"payload", good ? nlohmann::ordered_json::parse(text) : nlohmann::ordered_json()}};
  return out.dump();
}

// The first version of a stream in which a column that grows with it is larger; one behind the
// newest if there is none. Some looks into the index, however long the stream is.
int64_t first_version(pqxx::nontransaction& session, const std::string& stream,
                      const char* column, int64_t value) {
  int64_t low = 1;
  int64_t high = session.exec_params1("SELECT coalesce(max(version), 0) + 1 FROM log.event "
                                      "WHERE stream = $1", stream)[0].as<int64_t>();
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    const auto row = session.exec_params1(std::string("SELECT ") + column +
                                          " FROM log.event WHERE stream = $1 AND version = $2",
                                          stream, middle);
    if (row[0].as<int64_t>() > value) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

bool names_another_node(const v1::InstanceEvent& event, const std::string& node_id) {
  using Case = v1::InstanceEvent::BodyCase;
  if (node_id.empty()) return false;
  if (event.body_case() == Case::kNodeCreated) return event.node_created().node_id() != node_id;
  if (event.body_case() == Case::kNodeRemoved) return event.node_removed().node_id() != node_id;
  return event.body_case() == Case::kNodeRemovalStarted &&
         event.node_removal_started().node_id() != node_id;
}

}  // namespace

UsageTrace::UsageTrace(std::string log_dsn) : dsn_(std::move(log_dsn)) {}

template <class Work>
auto UsageTrace::ask(Work work) {
  try {
    if (!connection_) {
      connection_ = std::make_unique<pqxx::connection>(dsn_);
      pqxx::nontransaction session(*connection_);
      session.exec0("SET statement_timeout = '25s'");
    }
    pqxx::nontransaction session(*connection_);
    return work(session);
  } catch (const std::exception& error) {
    connection_.reset();
    throw eventlog::LogUnavailable(error.what());
  }
}

std::optional<CloseMark> UsageTrace::next_close(int64_t after_position) {
  return ask([&](pqxx::nontransaction& session) -> std::optional<CloseMark> {
    const auto rows = session.exec_params(
        "SELECT position, recorded_us FROM log.event WHERE stream = $1 AND position > $2 "
        "ORDER BY position LIMIT 1",
        eventlog::stream_name("usage", windows_stream_uuid()), after_position);
    if (rows.empty()) return std::nullopt;
    return CloseMark{rows[0][0].as<int64_t>(), rows[0][1].as<int64_t>() / 1000};
  });
}

int64_t UsageTrace::closed_until(int64_t position) {
  const auto rows = ask([&](pqxx::nontransaction& session) {
    return session.exec_params("SELECT " + kColumns + " FROM log.event WHERE stream = $1 AND "
                               "position <= $2 ORDER BY version DESC LIMIT 1",
                               eventlog::stream_name("usage", windows_stream_uuid()), position);
  });
  v1::UsageEvent event;
  if (rows.empty() || !event.ParseFromString(eventlog::event_of(rows[0], 0).payload)) {
    return std::numeric_limits<int64_t>::min() / 2;
  }
  return event.usage_window_closed().window_end_unix_ms();
}

std::vector<RecordedEvent> UsageTrace::of_instance(const UsageLine& line, int64_t after,
                                                   size_t limit) {
  const auto& types = event_types_of(line.meter);
  if (types.empty()) return {};
  std::string list;
  for (const auto& type : types) list += (list.empty() ? "'" : ",'") + type + "'";
  return ask([&](pqxx::nontransaction& session) {
    return events_from(session.exec_params(
        "SELECT " + kColumns + " FROM log.event WHERE stream = $1 AND position > $2 AND "
        "recorded_us < $3 AND type IN (" + list + ") ORDER BY version LIMIT $4",
        eventlog::stream_name("instance", line.instance_id), after, line.to_ms * 1000,
        static_cast<int64_t>(limit)));
  });
}

// Which streams are of proxies is not known from their names. Jumps from one stream to the next in
// the index, and reads the first event of those that are new.
std::vector<std::string> UsageTrace::proxy_streams(Session& session) {
  const auto next = [](const std::string& after) {
    return "SELECT stream FROM log.event WHERE stream > " + after +
           " AND stream < 'usage.' ORDER BY stream LIMIT 1";
  };
  const auto names = session.exec("WITH RECURSIVE s AS ((" + next("'usage-'") +
                                  ") UNION ALL SELECT (" + next("s.stream") +
                                  ") FROM s WHERE s.stream IS NOT NULL) "
                                  "SELECT stream FROM s WHERE stream IS NOT NULL");
  std::vector<std::string> out;
  for (const auto& row : names) {
    const std::string stream = row[0].c_str();
    auto known = is_proxy_.find(stream);
    if (known == is_proxy_.end()) {
      const auto first = session.exec_params1(
          "SELECT " + kColumns + " FROM log.event WHERE stream = $1 AND version = 1", stream);
      v1::UsageEvent event;
      const bool is_proxy = event.ParseFromString(eventlog::event_of(first, 0).payload) &&
                            event.usage_measured().source().starts_with("proxy:");
      known = is_proxy_.emplace(stream, is_proxy).first;
    }
    if (known->second) out.push_back(stream);
  }
  return out;
}

std::vector<RecordedEvent> UsageTrace::of_sources(const UsageLine& line,
                                                  const std::vector<std::string>& hosts,
                                                  int64_t last_position, int64_t after,
                                                  size_t limit) {
  const MeterInfo& meter = info(line.meter);
  if (meter.source == MeterSource::log) return {};
  std::vector<std::string> streams;
  if (meter.source == MeterSource::agent) {
    for (const auto& host : hosts) {
      streams.push_back(eventlog::stream_name("usage", source_uuid("host:" + host)));
    }
  }
  return ask([&](Session& session) {
    if (meter.source == MeterSource::proxy) streams = proxy_streams(session);
    std::string each;
    for (const auto& stream : streams) {
      int64_t first = first_version(session, stream, "recorded_us", line.from_ms * 1000 - kStepUs);
      if (after > 0) first = std::max(first, first_version(session, stream, "position", after));
      const int64_t end =
          last_position != 0
              ? first_version(session, stream, "position", last_position)
              : first_version(session, stream, "recorded_us", line.to_ms * 1000 + kLateUs);
      each += (each.empty() ? "(SELECT " : " UNION ALL (SELECT ") + kColumns +
              " FROM log.event WHERE stream = " + session.quote(stream) + " AND version >= " +
              std::to_string(first) + " AND version < " + std::to_string(end) +
              " AND type = 'usage_measured' AND recorded_us > " +
              std::to_string(line.from_ms * 1000) + " ORDER BY version LIMIT " +
              std::to_string(limit) + ")";
    }
    if (each.empty()) return std::vector<RecordedEvent>();
    return events_from(session.exec("SELECT * FROM (" + each + ") e ORDER BY position LIMIT " +
                                    std::to_string(limit)));
  });
}

TracePage UsageTrace::events_of(const UsageLine& line, const std::vector<std::string>& hosts,
                                int64_t last_position, int64_t after_position, size_t limit) {
  // Many events of a source speak of others: a page may show fewer than it has looked at.
  constexpr size_t kLooked = 5'000;
  std::map<int64_t, std::string> shown;
  // Up to where everything was looked at.
  int64_t looked_up_to = std::numeric_limits<int64_t>::max();
  const auto stopped_at = [&](const std::vector<RecordedEvent>& events) {
    if (events.size() == kLooked) looked_up_to = std::min(looked_up_to, events.back().position);
  };
  const auto of_its_own = of_instance(line, after_position, kLooked);
  stopped_at(of_its_own);
  for (const RecordedEvent& event : of_its_own) {
    v1::InstanceEvent parsed;
    if (!parsed.ParseFromString(event.payload)) continue;
    if (names_another_node(parsed, line.node_id)) continue;
    shown[event.position] = event_json(event, parsed);
  }
  const auto measured = of_sources(line, hosts, last_position, after_position, kLooked);
  stopped_at(measured);
  MeasuredScan scan(line);
  for (const RecordedEvent& event : measured) {
    v1::UsageEvent parsed;
    if (!parsed.ParseFromString(event.payload)) continue;
    const int64_t at_ms = to_unix_us(event.recorded_at) / 1000;
    if (!scan.take(at_ms, parsed.mutable_usage_measured())) continue;
    shown[event.position] = event_json(event, parsed);
  }
  TracePage page;
  for (auto& [position, json] : shown) {
    if (position > looked_up_to) break;
    if (page.events.size() == limit) {
      page.next_position = std::prev(shown.find(position))->first;
      return page;
    }
    page.events.push_back(std::move(json));
  }
  if (looked_up_to != std::numeric_limits<int64_t>::max()) page.next_position = looked_up_to;
  return page;
}

}  // namespace trunkline::metering
