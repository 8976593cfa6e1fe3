#include "cli/log_source.h"

#include <pqxx/pqxx>

#include "base/ids.h"
#include "cli/exit_code.h"
#include "eventlog/row.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::cli {
namespace {

LogMoment moment_of(const pqxx::row& row) {
  return {row[0].as<int64_t>(), row[1].as<int64_t>(), row[2].as<int64_t>()};
}

constexpr char kMoment[] =
    "SELECT coalesce(max(position), 0), count(*), count(DISTINCT stream) FROM log.event WHERE ";

std::optional<TimePoint> time_of(const pqxx::field& field) {
  if (field.is_null()) return std::nullopt;
  return from_unix_us(field.as<int64_t>());
}

}  // namespace

struct LogSource::Impl {
  std::unique_ptr<pqxx::connection> connection;

  // One snapshot a call: what belongs together is read together.
  template <class Work>
  auto read(const Work& work) {
    try {
      pqxx::transaction<pqxx::repeatable_read, pqxx::read_only> transaction(*connection);
      return work(transaction);
    } catch (const std::exception& error) {
      throw Failure(ExitCode::unavailable, std::string("log: ") + error.what());
    }
  }
};

LogSource::LogSource(const std::string& dsn) : impl_(std::make_unique<Impl>()) {
  try {
    impl_->connection = std::make_unique<pqxx::connection>(dsn);
  } catch (const std::exception& error) {
    throw Failure(ExitCode::unavailable, std::string("log: ") + error.what());
  }
}
LogSource::~LogSource() = default;

int64_t LogSource::last_position() {
  return impl_->read([](pqxx::transaction_base& work) {
    return work.exec1("SELECT coalesce(max(position), 0) FROM log.event")[0]
        .as<int64_t>();
  });
}

int64_t LogSource::position_before_newest(int64_t count, const std::string& stream_prefix,
                                          const std::string& type) {
  if (count <= 0) return last_position();
  return impl_->read([&](pqxx::transaction_base& work) -> int64_t {
    const pqxx::result rows = work.exec_params(
        "SELECT position FROM log.event WHERE starts_with(stream, $1) AND $2 IN ('', type) "
        "ORDER BY position DESC OFFSET $3 LIMIT 1",
        stream_prefix, type, count - 1);
    return rows.empty() ? 0 : rows[0][0].as<int64_t>() - 1;
  });
}

std::vector<std::string> LogSource::streams_named(const std::string& text) {
  const auto uuid = canonical_uuid(text);
  return impl_->read([&](pqxx::transaction_base& work) {
    const pqxx::result rows =
        uuid ? work.exec_params(
                   "SELECT stream FROM log.event WHERE version = 1 AND stream = ANY (ARRAY["
                   "'instance-' || $1, 'group-' || $1, 'host-' || $1, 'version-' || $1, "
                   "'token-' || $1]) ORDER BY position",
                   *uuid)
             : work.exec_params(
                   "SELECT stream FROM log.event WHERE stream = $1 ORDER BY version LIMIT 1",
                   text);
    std::vector<std::string> streams;
    for (const pqxx::row& row : rows) streams.emplace_back(row[0].c_str());
    return streams;
  });
}

LogMoment LogSource::at_position(int64_t position) {
  return impl_->read([&](pqxx::transaction_base& work) {
    return moment_of(work.exec_params1(std::string(kMoment) + "position <= $1", position));
  });
}

LogMoment LogSource::at_time(TimePoint time) {
  return impl_->read([&](pqxx::transaction_base& work) {
    return moment_of(
        work.exec_params1(std::string(kMoment) + "recorded_us <= $1", to_unix_us(time)));
  });
}

LogStats LogSource::stats() {
  return impl_->read([](pqxx::transaction_base& work) {
    LogStats stats;
    const pqxx::row total = work.exec1(
        "SELECT count(*), count(DISTINCT stream), coalesce(max(position), 0), min(recorded_us), "
        "max(recorded_us), pg_total_relation_size('log.event'), "
        "(SELECT count(*) FROM log.command_result), "
        "count(*) FILTER (WHERE recorded_us > extract(epoch FROM now()) * 1000000 - 60000000), "
        "count(*) FILTER (WHERE recorded_us > extract(epoch FROM now()) * 1000000 - 3600000000) "
        "FROM log.event");
    stats.events = total[0].as<int64_t>();
    stats.streams = total[1].as<int64_t>();
    stats.last_position = total[2].as<int64_t>();
    stats.first_at = time_of(total[3]);
    stats.last_at = time_of(total[4]);
    stats.table_bytes = total[5].as<int64_t>();
    stats.commands = total[6].as<int64_t>();
    stats.per_second_1m = total[7].as<double>() / 60;
    stats.per_second_1h = total[8].as<double>() / 3600;
    for (const pqxx::row& row : work.exec(
             "SELECT split_part(stream, '-', 1), type, count(*), sum(length(payload)) "
             "FROM log.event GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2")) {
      stats.types.push_back({row[0].c_str(), row[1].c_str(), row[2].as<int64_t>(),
                             row[3].as<int64_t>()});
    }
    return stats;
  });
}

std::vector<LostEvents> LogSource::lost_events() {
  return impl_->read([](pqxx::transaction_base& work) {
    std::vector<LostEvents> lost;
    for (const pqxx::row& row : work.exec(
             "SELECT r.command_id, r.answer FROM log.command_result r WHERE NOT EXISTS "
             "(SELECT FROM log.event e WHERE e.command_id = r.command_id) "
             "ORDER BY r.recorded_us")) {
      v1::CommandAnswer answer;
      if (!answer.ParseFromString(eventlog::bytes_of(row[1]))) {
        lost.push_back({row[0].c_str(), "its recorded answer cannot be decoded"});
      } else if (answer.has_accepted()) {
        lost.push_back({row[0].c_str(), "it was accepted, but none of its events is there"});
      }
    }
    return lost;
  });
}

}  // namespace trunkline::cli
