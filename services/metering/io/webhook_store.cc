#include "metering/io/webhook_store.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "metering/io/usage_reader.h"
#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

constexpr char kTables[] = R"sql(
CREATE SCHEMA IF NOT EXISTS webhook;
CREATE TABLE IF NOT EXISTS webhook.progress (
  webhook_id     uuid    PRIMARY KEY,
  position       bigint  NOT NULL,
  ordinal        integer NOT NULL,
  resend_version bigint  NOT NULL,
  tries          integer NOT NULL,
  refused        integer NOT NULL,
  first_us       bigint  NOT NULL,
  next_us        bigint  NOT NULL
);
CREATE TABLE IF NOT EXISTS webhook.attempt (
  webhook_id  uuid    NOT NULL,
  number      bigint  GENERATED ALWAYS AS IDENTITY,
  record_id   uuid    NOT NULL,
  position    bigint  NOT NULL,
  at_us       bigint  NOT NULL,
  try         integer NOT NULL,
  status      integer NOT NULL,
  error       text    NOT NULL,
  duration_ms bigint  NOT NULL,
  PRIMARY KEY (webhook_id, number)
);
CREATE TABLE IF NOT EXISTS webhook.dead_letter (
  webhook_id uuid    NOT NULL,
  record_id  uuid    NOT NULL,
  position   bigint  NOT NULL,
  at_us      bigint  NOT NULL,
  status     integer NOT NULL,
  error      text    NOT NULL,
  PRIMARY KEY (webhook_id, record_id)
);
)sql";

constexpr int64_t kAttemptsKept = 1000;
// The ordinal of a cursor that stands behind all records of its position.
constexpr int32_t kAll = std::numeric_limits<int32_t>::max();

UsageRecord record_of(const pqxx::row& row) {
  UsageRecord record;
  record.position = row[0].as<int64_t>();
  record.ordinal = row[1].as<int32_t>();
  record.id = row[2].c_str();
  record.project_id = row[3].c_str();
  record.instance_id = row[4].c_str();
  const std::string node = row[5].c_str();
  if (node != kNoNode) record.node_id = node;
  record.window = {row[6].as<int64_t>(), row[7].as<int64_t>()};
  record.closed_ms = row[8].as<int64_t>();
  record.is_correction = row[9].as<bool>();
  for (size_t i = 0; i < kMeters; ++i) {
    const auto field = row[static_cast<int>(i) + 10];
    record.amounts[i] = field.is_null() ? 0 : field.as<int64_t>();
  }
  return record;
}

TimePoint time_of(const pqxx::field& field) { return from_unix_us(field.as<int64_t>()); }

std::string cut(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text.substr(0, 500);
}

}  // namespace

WebhookStore::WebhookStore(std::string dsn) : dsn_(std::move(dsn)) {}

template <class Work>
auto WebhookStore::ask(Work work) {
  try {
    if (!connection_) {
      connection_ = std::make_unique<pqxx::connection>(dsn_);
      pqxx::nontransaction session(*connection_);
      // What a crash takes of the newest progress is delivered again.
      session.exec0("SET synchronous_commit = off");
      session.exec0("SET client_min_messages = warning");
      session.exec0("SET statement_timeout = '25s'");
    }
    pqxx::nontransaction session(*connection_);
    return work(session);
  } catch (const std::exception& error) {
    connection_.reset();
    throw UsageUnavailable(error.what());
  }
}

void WebhookStore::make_tables() {
  ask([](auto& session) {
    session.exec(kTables);
    return 0;
  });
}

DeliveryProgress WebhookStore::progress_of(const WebhookState& webhook) {
  return ask([&](auto& session) {
    DeliveryProgress out;
    const auto rows = session.exec_params(
        "SELECT position, ordinal, resend_version, tries, refused, first_us, next_us "
        "FROM webhook.progress WHERE webhook_id = $1", webhook.id);
    if (!rows.empty()) {
      const auto row = rows[0];
      out.cursor = {row[0].template as<int64_t>(), row[1].template as<int32_t>()};
      out.resend_version = row[2].template as<uint64_t>();
      out.tries = {row[3].template as<uint32_t>(), row[4].template as<uint32_t>(),
                   time_of(row[5]), time_of(row[6])};
      return out;
    }
    const auto before = session.exec_params(
        "SELECT position FROM usage.record WHERE closed_ms <= $1 "
        "ORDER BY position DESC, ordinal DESC LIMIT 1",
        to_unix_us(webhook.created_at) / 1000);
    out.cursor.ordinal = kAll;
    if (!before.empty()) out.cursor.position = before[0][0].template as<int64_t>();
    return out;
  });
}

void WebhookStore::save(const std::string& webhook_id, const DeliveryProgress& progress) {
  ask([&](auto& session) {
    session.exec_params(
        "INSERT INTO webhook.progress VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
        "ON CONFLICT (webhook_id) DO UPDATE SET position = $2, ordinal = $3, resend_version = $4, "
        "tries = $5, refused = $6, first_us = $7, next_us = $8",
        webhook_id, progress.cursor.position, progress.cursor.ordinal,
        static_cast<int64_t>(progress.resend_version), static_cast<int>(progress.tries.tries),
        static_cast<int>(progress.tries.refused), to_unix_us(progress.tries.first_at),
        to_unix_us(progress.tries.next_at));
    return 0;
  });
}

DeliveryCursor WebhookStore::cursor_before(int64_t from_ms) {
  return ask([&](auto& session) {
    const auto rows = session.exec_params(
        "SELECT position, ordinal FROM usage.record WHERE window_end_ms > $1 "
        "AND window_start_ms >= $1 - $2 ORDER BY position, ordinal LIMIT 1",
        from_ms, kHourMs);
    if (!rows.empty()) {
      return DeliveryCursor{rows[0][0].template as<int64_t>(),
                            rows[0][1].template as<int32_t>() - 1};
    }
    const auto closed = session.exec1("SELECT closed_position FROM usage.checkpoint");
    return DeliveryCursor{closed[0].template as<int64_t>(), kAll};
  });
}

WebhookStore::Next WebhookStore::next_records(const DeliveryCursor& after,
                                              const std::string& project_id, size_t limit) {
  return ask([&](auto& session) {
    Next next;
    // First the end: what is committed meanwhile comes after it.
    const auto closed = session.exec1("SELECT closed_position FROM usage.checkpoint");
    next.looked_at = {closed[0].template as<int64_t>(), kAll};
    const int64_t seen = after.ordinal == kAll ? after.position : after.position - 1;
    if (next.looked_at.position <= seen) {
      next.looked_at = after;
      return next;
    }
    const auto rows = session.exec_params(
        "SELECT position, ordinal, id, project_id, instance_id, node_id, window_start_ms, "
        "window_end_ms, closed_ms, is_correction, " + meter_columns() +
            " FROM usage.record WHERE (position, ordinal) > ($1::bigint, $2::integer) "
            "AND position <= $3 AND ($4 = '' OR project_id = nullif($4, '')::uuid) "
            "ORDER BY position, ordinal LIMIT $5",
        after.position, after.ordinal, next.looked_at.position, project_id,
        static_cast<int64_t>(limit));
    for (const auto& row : rows) next.records.push_back(record_of(row));
    if (next.records.size() == limit) {
      next.looked_at = {next.records.back().position, next.records.back().ordinal};
    }
    return next;
  });
}

void WebhookStore::note(const std::string& webhook_id, const DeliveryAttempt& attempt) {
  ask([&](auto& session) {
    const auto row = session.exec_params1(
        "INSERT INTO webhook.attempt (webhook_id, record_id, position, at_us, try, status, error, "
        "duration_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING number",
        webhook_id, attempt.record_id, attempt.position, to_unix_us(attempt.at),
        static_cast<int>(attempt.number), attempt.status, cut(attempt.error), attempt.duration_ms);
    const auto number = row[0].template as<int64_t>();
    if (number % 100 == 0) {
      session.exec_params("DELETE FROM webhook.attempt WHERE webhook_id = $1 AND number < $2",
                          webhook_id, number - kAttemptsKept);
    }
    return 0;
  });
}

void WebhookStore::bury(const std::string& webhook_id, const DeliveryAttempt& attempt) {
  ask([&](auto& session) {
    session.exec_params(
        "INSERT INTO webhook.dead_letter VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (webhook_id, record_id) DO UPDATE SET at_us = $4, status = $5, error = $6",
        webhook_id, attempt.record_id, attempt.position, to_unix_us(attempt.at), attempt.status,
        cut(attempt.error));
    return 0;
  });
}

bool WebhookStore::unbury(const std::string& webhook_id, const std::string& record_id) {
  return ask([&](auto& session) {
    return session
               .exec_params("DELETE FROM webhook.dead_letter WHERE webhook_id = $1 "
                            "AND record_id = $2", webhook_id, record_id)
               .affected_rows() > 0;
  });
}

int64_t WebhookStore::dead_letters(const std::string& webhook_id) {
  return ask([&](auto& session) {
    return session
        .exec_params1("SELECT count(*) FROM webhook.dead_letter WHERE webhook_id = $1",
                      webhook_id)[0]
        .template as<int64_t>();
  });
}

void WebhookStore::forget_dead_letters(const std::string& webhook_id, TimePoint up_to) {
  ask([&](auto& session) {
    session.exec_params("DELETE FROM webhook.dead_letter WHERE webhook_id = $1 AND at_us <= $2",
                        webhook_id, to_unix_us(up_to));
    return 0;
  });
}

void WebhookStore::forget_others(const std::vector<std::string>& webhook_ids) {
  std::string ids;
  for (const auto& id : webhook_ids) ids += (ids.empty() ? "" : ",") + id;
  ask([&](auto& session) {
    for (const char* table : {"progress", "attempt", "dead_letter"}) {
      session.exec_params("DELETE FROM webhook." + std::string(table) +
                              " WHERE webhook_id <> ALL ($1::uuid[])", "{" + ids + "}");
    }
    return 0;
  });
}

std::string WebhookStore::deliveries_json(const std::string& webhook_id, uint32_t limit) {
  using Json = nlohmann::ordered_json;
  return ask([&](auto& session) {
    Json out = Json::object();
    const auto progress = session.exec_params(
        "SELECT position, tries, next_us, position < (SELECT closed_position FROM "
        "usage.checkpoint) FROM webhook.progress WHERE webhook_id = $1", webhook_id);
    if (!progress.empty()) {
      out["delivered_position"] = progress[0][0].template as<int64_t>();
      out["pending"] = progress[0][3].template as<bool>();
      out["tries"] = progress[0][1].template as<int>();
      if (out["tries"] != 0) out["next_try_at"] = format_rfc3339(time_of(progress[0][2]));
    }
    const auto entry = [](const pqxx::row& row) {
      return Json{{"record", row[0].c_str()},
                  {"position", row[1].as<int64_t>()},
                  {"at", format_rfc3339(time_of(row[2]))},
                  {"status", row[3].as<int>()},
                  {"error", row[4].c_str()}};
    };
    out["attempts"] = Json::array();
    for (const auto& row : session.exec_params(
             "SELECT record_id, position, at_us, status, error, try, duration_ms "
             "FROM webhook.attempt WHERE webhook_id = $1 ORDER BY number DESC LIMIT $2",
             webhook_id, static_cast<int64_t>(limit))) {
      out["attempts"].push_back(entry(row));
      out["attempts"].back()["try"] = row[5].template as<int>();
      out["attempts"].back()["duration_ms"] = row[6].template as<int64_t>();
    }
    out["dead_letters"] = Json::array();
    for (const auto& row : session.exec_params(
             "SELECT record_id, position, at_us, status, error FROM webhook.dead_letter "
             "WHERE webhook_id = $1 ORDER BY at_us DESC LIMIT $2",
             webhook_id, static_cast<int64_t>(limit))) {
      out["dead_letters"].push_back(entry(row));
    }
    return out.dump();
  });
}

}  // namespace trunkline::metering
