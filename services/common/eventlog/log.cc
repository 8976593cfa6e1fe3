#include "eventlog/log.h"

#include <pqxx/pqxx>

#include "base/digest.h"
#include "eventlog/row.h"
#include "telemetry/metrics.h"

namespace trunkline::eventlog {
namespace {

constexpr char kAppend[] =
    "SELECT * FROM log.append($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11::bytea,$12::bytea,$13::jsonb)";
constexpr char kReadStream[] =
    "SELECT position,stream,version,type,schema_version,payload,command_id,causation_id,"
    "correlation_id,actor,traceparent,recorded_us,previous_hash,hash "
    "FROM log.event WHERE stream = $1 AND version > $2 ORDER BY version";

struct LogMetrics {
  telemetry::CounterFamily appends{
      "trunkline_log_appends_total", "Appends to the event log.", {"outcome"}};
  telemetry::CounterFamily events{"trunkline_log_events_appended_total",
                                  "Events that this process has appended."};
  telemetry::HistogramFamily took{"trunkline_log_append_duration_seconds",
                                  "Time of an append until it is on disk."};
};
LogMetrics& metrics() {
  static auto* const all = new LogMetrics;
  return *all;
}

std::string bytea(const std::string& data) { return "\\x" + hex(data); }

// Types are words of ours and payloads hexadecimal: nothing in these arrays needs quoting.
std::string text_array(const std::vector<NewEvent>& events) {
  std::string out = "{";
  for (const NewEvent& event : events) out += (out.size() > 1 ? "," : "") + event.type;
  return out + "}";
}

std::string schema_array(const std::vector<NewEvent>& events) {
  std::string out = "{";
  for (const NewEvent& event : events) {
    out += (out.size() > 1 ? "," : "") + std::to_string(event.schema_version);
  }
  return out + "}";
}

std::string payload_array(const std::vector<NewEvent>& events) {
  std::string out = "{";
  for (const NewEvent& event : events) {
    out += (out.size() > 1 ? ",\"\\\\x" : "\"\\\\x") + hex(event.payload) + "\"";
  }
  return out + "}";
}

}  // namespace

struct Log::Impl {
  std::string dsn;
  std::unique_ptr<pqxx::connection> connection;

  pqxx::connection& open() {
    if (!connection) {
      connection = std::make_unique<pqxx::connection>(dsn);
      connection->prepare("append", kAppend);
      connection->prepare("read_stream", kReadStream);
      connection->prepare("result",
                          "SELECT request_hash, answer FROM log.command_result "
                          "WHERE command_id = $1");
      connection->prepare("command_events",
                          "SELECT position, version FROM log.event WHERE command_id = $1 "
                          "ORDER BY position DESC LIMIT 1");
    }
    return *connection;
  }

  // Runs `work` on a transaction-less session; every failure costs the connection.
  template <class Work>
  auto run(Work work) {
    try {
      pqxx::nontransaction session(open());
      return work(session);
    } catch (const pqxx::unique_violation&) {
      throw;
    } catch (const LogCorrupt&) {
      throw;
    } catch (const std::exception& error) {
      connection.reset();
      throw LogUnavailable(error.what());
    }
  }
};

Log::Log(std::string dsn) : impl_(std::make_unique<Impl>()) {
  impl_->dsn = std::move(dsn);
  metrics();  // shown from the start
}
Log::~Log() = default;

Log::AppendOutcome Log::append(const AppendRequest& request) {
  const auto started = std::chrono::steady_clock::now();
  try {
    AppendOutcome outcome = append_unmeasured(request);
    const auto took = std::chrono::steady_clock::now() - started;
    metrics().took.observe(std::chrono::duration<double>(took).count());
    metrics().appends.add({outcome.appended   ? "appended"
                           : outcome.conflict ? "conflict"
                                              : "known"});
    if (outcome.appended) metrics().events.add({}, double(outcome.appended->events.size()));
    return outcome;
  } catch (...) {
    metrics().appends.add({"failed"});
    throw;
  }
}

Log::AppendOutcome Log::append_unmeasured(const AppendRequest& request) {
  const Metadata& meta = request.metadata;
  AppendOutcome outcome;
  try {
    impl_->run([&](pqxx::nontransaction& session) {
      const std::string request_hash = bytea(request.result.request_hash);
      const std::string answer = bytea(request.result.answer);
      const char* const recorded = request.record_result ? answer.c_str() : nullptr;
      const std::string& audit = request.result.audit;
      const char* const audited = audit.empty() ? nullptr : audit.c_str();
      const pqxx::result rows = session.exec_prepared(
          "append", request.stream, request.expected_version, meta.command_id, meta.causation_id,
          meta.correlation_id, meta.actor, meta.traceparent, text_array(request.events),
          schema_array(request.events), payload_array(request.events), request_hash, recorded,
          audited);
      if (rows.empty()) throw LogUnavailable("log.append answered nothing");
      const std::string kind = rows[0][0].as<std::string>();
      if (kind == "duplicate") {
        outcome.duplicate.emplace();
        return;
      }
      if (kind == "conflict") {
        outcome.conflict = VersionConflict{rows[0][1].as<int64_t>()};
        return;
      }
      outcome.appended.emplace();
      if (kind == "recorded") return;
      for (size_t i = 0; i < request.events.size(); ++i) {
        const pqxx::row row = rows[static_cast<pqxx::result::size_type>(i)];
        RecordedEvent event;
        event.position = row[1].as<int64_t>();
        event.stream = request.stream;
        event.version = row[2].as<int64_t>();
        event.type = request.events[i].type;
        event.schema_version = request.events[i].schema_version;
        event.payload = request.events[i].payload;
        event.metadata = meta;
        event.recorded_at = from_unix_us(row[3].as<int64_t>());
        event.previous_hash = bytes_of(row[4]);
        event.hash = bytes_of(row[5]);
        outcome.appended->last_position = event.position;
        outcome.appended->events.push_back(std::move(event));
      }
    });
  } catch (const pqxx::unique_violation& error) {
    if (std::string_view(error.what()).find("command_result") != std::string_view::npos) {
      outcome.duplicate.emplace();
    } else {
      outcome.conflict = VersionConflict{-1};
    }
  }
  if (outcome.duplicate) {
    auto result = command_result(meta.command_id);
    if (!result) throw LogUnavailable("the result of a decided command is not readable");
    outcome.duplicate->result = std::move(*result);
  }
  return outcome;
}

std::optional<CommandResult> Log::command_result(const std::string& command_id) {
  return impl_->run([&](pqxx::nontransaction& session) -> std::optional<CommandResult> {
    const pqxx::result rows = session.exec_prepared("result", command_id);
    if (rows.empty()) return std::nullopt;
    return CommandResult{bytes_of(rows[0][0]), bytes_of(rows[0][1]), {}};
  });
}

std::optional<Log::CommandEvents> Log::command_events(const std::string& command_id) {
  return impl_->run([&](pqxx::nontransaction& session) -> std::optional<CommandEvents> {
    const pqxx::result rows = session.exec_prepared("command_events", command_id);
    if (rows.empty()) return std::nullopt;
    return CommandEvents{rows[0][0].as<int64_t>(), rows[0][1].as<int64_t>()};
  });
}

std::vector<RecordedEvent> Log::read_stream(const std::string& stream, int64_t after_version,
                                            const std::string& after_hash) {
  return impl_->run([&](pqxx::nontransaction& session) {
    const pqxx::result rows = session.exec_prepared("read_stream", stream, after_version);
    std::vector<RecordedEvent> events;
    events.reserve(rows.size());
    int64_t version = after_version;
    std::string hash = after_version == 0 ? std::string(32, '\0') : after_hash;
    for (const pqxx::row& row : rows) {
      RecordedEvent event = event_of(row, 0);
      const std::string where = stream + " version " + std::to_string(event.version);
      if (event.version != version + 1) {
        throw LogCorrupt(where + " follows " + std::to_string(version));
      }
      if (!hash.empty() && event.previous_hash != hash) {
        throw LogCorrupt(where + ": chained to another event");
      }
      if (compute_hash(event) != event.hash) throw LogCorrupt(where + ": hash does not match");
      version = event.version;
      hash = event.hash;
      events.push_back(std::move(event));
    }
    return events;
  });
}

}  // namespace trunkline::eventlog
