#include "lookup/io/log_access.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/digest.h"
#include "eventlog/row.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::lookup {
namespace {

using eventlog::RecordedEvent;

const std::string kColumns =
    "position,stream,version,type,schema_version,payload,command_id,causation_id,correlation_id,"
    "actor,traceparent,recorded_us,previous_hash,hash";

}  // namespace

LogEvent as_log_event(const RecordedEvent& event) {
  return {event.position,       event.stream,  event.version,    event.type,
          event.schema_version, event.payload, event.recorded_at};
}

LogAccess::LogAccess(std::string dsn, std::chrono::milliseconds longest_statement)
    : dsn_(std::move(dsn) + " options='-c statement_timeout=" +
           std::to_string(longest_statement.count()) + "'"),
      log_(dsn_) {}

template <class Work>
auto LogAccess::with_connection(Work work) {
  try {
    if (!connection_) {
      auto fresh = std::make_unique<pqxx::connection>(dsn_);
      connection_ = std::move(fresh);
    }
    pqxx::nontransaction session(*connection_);
    return work(session);
  } catch (const std::exception& error) {
    connection_.reset();
    throw eventlog::LogUnavailable(error.what());
  }
}

std::vector<RecordedEvent> LogAccess::view_events(const StreamRef& stream, int64_t up_to) {
  const std::string uuid(stream.uuid);
  const auto read = [&](const char* aggregate) {
    return log_.read_stream(eventlog::stream_name(aggregate, uuid), 0);
  };
  std::vector<RecordedEvent> events;
  switch (stream.aggregate) {
    case Aggregate::instance:
    case Aggregate::group: {
      events = read("instance");
      auto group = read("group");
      std::move(group.begin(), group.end(), std::back_inserter(events));
      break;
    }
    case Aggregate::version: events = read("version"); break;
    case Aggregate::host: events = read("host"); break;
    case Aggregate::token: events = read("token"); break;
    case Aggregate::quota: events = read("quota"); break;
  }
  std::erase_if(events, [&](const RecordedEvent& event) { return event.position > up_to; });
  std::sort(events.begin(), events.end(),
            [](const auto& a, const auto& b) { return a.position < b.position; });
  return events;
}

std::vector<RecordedEvent> LogAccess::history(const std::string& instance_id, int64_t after,
                                              int64_t up_to, size_t limit) {
  return with_connection([&](pqxx::nontransaction& session) {
    std::vector<RecordedEvent> events;
    const auto rows = session.exec_params(
        "SELECT " + kColumns +
            " FROM log.event WHERE stream IN ($1, $2) AND position > $3 AND position <= $4 "
            "ORDER BY position LIMIT $5",
        "instance-" + instance_id, "group-" + instance_id, after, up_to,
        static_cast<int64_t>(limit));
    for (const auto& row : rows) events.push_back(eventlog::event_of(row, 0));
    return events;
  });
}

std::vector<RecordedEvent> LogAccess::failover_events(const std::string& instance_id,
                                                      int64_t up_to) {
  return with_connection([&](pqxx::nontransaction& session) {
    std::vector<RecordedEvent> events;
    const auto rows = session.exec_params(
        "SELECT " + kColumns +
            " FROM log.event WHERE stream = $1 AND position <= $2 AND type IN "
            "('group_membership_changed', 'failover_started', 'failover_blocked', "
            "'primary_assigned', 'primary_opened') ORDER BY version",
        "group-" + instance_id, up_to);
    for (const auto& row : rows) events.push_back(eventlog::event_of(row, 0));
    return events;
  });
}

std::optional<RecordedEvent> LogAccess::first_event(const std::string& stream) {
  return with_connection([&](pqxx::nontransaction& session) {
    const auto rows = session.exec_params(
        "SELECT " + kColumns + " FROM log.event WHERE stream = $1 AND version = 1", stream);
    return rows.empty() ? std::nullopt : std::optional(eventlog::event_of(rows[0], 0));
  });
}

std::optional<LogAccess::CommandEvents> LogAccess::command_events(const std::string& command_id) {
  return with_connection([&](pqxx::nontransaction& session) -> std::optional<CommandEvents> {
    const auto rows = session.exec_params(
        "SELECT " + kColumns +
            ", max(position) OVER () FROM log.event WHERE command_id = $1 "
            "ORDER BY position LIMIT 1",
        command_id);
    if (rows.empty()) return std::nullopt;
    return CommandEvents{eventlog::event_of(rows[0], 0), rows[0][14].as<int64_t>()};
  });
}

std::optional<LogAccess::CommandResult> LogAccess::command_result(const std::string& command_id) {
  return with_connection([&](pqxx::nontransaction& session) -> std::optional<CommandResult> {
    const auto rows = session.exec_params(
        "SELECT answer, recorded_us, audit IS NULL, coalesce(audit->>'project_id', '') "
        "FROM log.command_result WHERE command_id = $1",
        command_id);
    if (rows.empty()) return std::nullopt;
    CommandResult result{eventlog::bytes_of(rows[0][0]), from_unix_us(rows[0][1].as<int64_t>()),
                         std::nullopt};
    if (!rows[0][2].as<bool>()) result.project_id = rows[0][3].c_str();
    return result;
  });
}

std::vector<AuditRow> LogAccess::audit(const v1::ListAudit& wish,
                                       const std::optional<std::string>& project,
                                       const std::optional<AuditPlace>& after, size_t limit) {
  return with_connection([&](pqxx::nontransaction& session) {
    std::string where = "audit IS NOT NULL";
    const auto narrow = [&](const std::string& column, const char* compared,
                            const std::string& value) {
      where += " AND " + column + " " + compared + " " + session.quote(value);
    };
    if (project) narrow("audit->>'project_id'", "=", *project);
    if (!wish.actor().empty()) narrow("audit->>'actor'", "=", wish.actor());
    if (!wish.outcome().empty()) narrow("audit->>'outcome'", "=", wish.outcome());
    if (wish.from_unix_us() > 0) narrow("recorded_us", ">=", std::to_string(wish.from_unix_us()));
    if (wish.to_unix_us() > 0) narrow("recorded_us", "<", std::to_string(wish.to_unix_us()));
    if (after) {
      where += " AND (recorded_us, command_id) < (" + std::to_string(after->recorded_us) + ", " +
               session.quote(after->command_id) + "::uuid)";
    }
    std::string fields;
    for (const char* name : {"actor", "role", "project_id", "client_address", "user_agent",
                             "command", "target", "outcome", "traceparent"}) {
      fields += ", coalesce(audit->>'" + std::string(name) + "', '')";
    }
    const auto found = session.exec(
        "SELECT command_id, recorded_us, answer" + fields + " FROM log.command_result WHERE " +
        where + " ORDER BY recorded_us DESC, command_id DESC LIMIT " + std::to_string(limit));
    std::vector<AuditRow> rows;
    for (const auto& row : found) {
      rows.push_back({row[0].c_str(), row[1].as<int64_t>(), row[3].c_str(), row[4].c_str(),
                      row[5].c_str(), row[6].c_str(), row[7].c_str(), row[8].c_str(),
                      row[9].c_str(), row[10].c_str(), row[11].c_str(),
                      eventlog::bytes_of(row[2])});
    }
    return rows;
  });
}

std::vector<TroubledWebhook> LogAccess::troubled_webhooks() {
  return with_connection([&](pqxx::nontransaction& session) {
    std::vector<TroubledWebhook> troubled;
    // '.' is the character after '-'.
    const auto rows = session.exec(
        "SELECT DISTINCT ON (stream) " + kColumns +
        " FROM log.event WHERE stream >= 'webhook-' AND stream < 'webhook.' AND type IN "
        "('webhook_troubled', 'webhook_recovered', 'webhook_deleted') "
        "ORDER BY stream, version DESC");
    for (const auto& row : rows) {
      const RecordedEvent event = eventlog::event_of(row, 0);
      v1::WebhookEvent parsed;
      if (!parsed.ParseFromString(event.payload) || !parsed.has_webhook_troubled()) continue;
      troubled.push_back({event.stream.substr(sizeof("webhook-") - 1),
                          parsed.webhook_troubled().rule(), parsed.webhook_troubled().why()});
    }
    return troubled;
  });
}

Checkpoint LogAccess::settled() {
  // Whoever appends takes a transaction id before its first position. So once every transaction
  // that is older than an id taken now has ended, nothing can come in before the last position.
  const auto last = with_connection([](pqxx::nontransaction& session) {
    const auto rows =
        session.exec("SELECT position, encode(hash, 'hex') FROM log.event "
                     "ORDER BY position DESC LIMIT 1");
    if (rows.empty()) return Checkpoint{};
    return Checkpoint{rows[0][0].as<int64_t>(), rows[0][1].c_str()};
  });
  with_connection([](pqxx::nontransaction& session) {
    const auto mine = std::stoull(session.exec1("SELECT pg_current_xact_id()::text")[0].c_str());
    while (true) {
      const auto row = session.exec1("SELECT pg_snapshot_xmin(pg_current_snapshot())::text");
      if (std::stoull(row[0].c_str()) > mine) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  return last;
}

int64_t LogAccess::last_position() {
  return with_connection([](pqxx::nontransaction& session) {
    return session.exec1("SELECT coalesce(max(position), 0) FROM log.event")[0].as<int64_t>();
  });
}

bool LogAccess::holds(const Checkpoint& checkpoint) {
  if (checkpoint.position == 0) return true;
  return with_connection([&](pqxx::nontransaction& session) {
    return !session
                .exec_params("SELECT 1 FROM log.event WHERE position = $1 AND hash = $2",
                             checkpoint.position, "\\x" + checkpoint.hash)
                .empty();
  });
}

}  // namespace trunkline::lookup
