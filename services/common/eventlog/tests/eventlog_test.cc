#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <pqxx/pqxx>
#include <set>
#include <thread>

#include "base/digest.h"
#include "base/ids.h"
#include "eventlog/log.h"
#include "eventlog/reader.h"
#include "eventlog/verify.h"
#include "testing/temp_servers.h"

namespace trunkline::eventlog {
namespace {

using testing::TempPostgres;

struct LogServer : TempPostgres {
  LogServer() { create_platform_databases(); }
};

TempPostgres& server() {
  static LogServer made;
  return made;
}

std::string writer_dsn() { return server().dsn("trunkline_log", "tl_provisioner"); }

std::string fresh_uuid() {
  static std::atomic<int> counter{0};
  return uuid_from_name(
      "test " + std::to_string(++counter) + " " +
      std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
}

Log::AppendRequest request(const std::string& stream, int64_t expected, int events) {
  Log::AppendRequest out;
  out.stream = stream;
  out.expected_version = expected;
  out.metadata = {fresh_uuid(), "cause", "correlation", "token:x", ""};
  for (int i = 0; i < events; ++i) {
    out.events.push_back({"instance_created", 1, std::string("pay\0load", 8) + std::to_string(i)});
  }
  out.result = {sha256("body"), "the answer", {}};
  return out;
}

// Everything that the log holds now, through a Reader.
std::vector<RecordedEvent> read_all() {
  Reader reader(writer_dsn(), 0);
  std::vector<RecordedEvent> all;
  while (true) {
    auto batch = reader.next(1000);
    if (batch.empty()) return all;
    std::move(batch.begin(), batch.end(), std::back_inserter(all));
  }
}

TEST(EventLog, AppendedEventsAreReadBackInOrderWithTheHashThatWeCompute) {
  Log log(writer_dsn());
  const std::string stream = stream_name("instance", fresh_uuid());
  const auto outcome = log.append(request(stream, 0, 3));
  ASSERT_TRUE(outcome.appended);
  ASSERT_EQ(outcome.appended->events.size(), 3u);
  const auto events = log.read_stream(stream, 0);
  ASSERT_EQ(events.size(), 3u);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].version, static_cast<int64_t>(i + 1));
    EXPECT_EQ(events[i].payload, std::string("pay\0load", 8) + std::to_string(i));
    EXPECT_EQ(events[i].hash, compute_hash(events[i]));
    EXPECT_EQ(events[i].hash, outcome.appended->events[i].hash);
  }
  EXPECT_EQ(events[1].previous_hash, events[0].hash);
}

TEST(EventLog, AnotherVersionThanExpectedIsAConflictAndAppendsNothing) {
  Log log(writer_dsn());
  const std::string stream = stream_name("instance", fresh_uuid());
  ASSERT_TRUE(log.append(request(stream, 0, 2)).appended);
  const auto late = log.append(request(stream, 1, 1));
  ASSERT_TRUE(late.conflict);
  EXPECT_EQ(late.conflict->actual_version, 2);
  EXPECT_EQ(log.read_stream(stream, 0).size(), 2u);
}

TEST(EventLog, TheSameCommandHasOneEffectAndItsFirstAnswer) {
  Log log(writer_dsn());
  const std::string stream = stream_name("instance", fresh_uuid());
  auto first = request(stream, 0, 1);
  ASSERT_TRUE(log.append(first).appended);
  auto again = first;
  again.expected_version = 1;
  again.result.answer = "another answer";
  const auto outcome = log.append(again);
  ASSERT_TRUE(outcome.duplicate);
  EXPECT_EQ(outcome.duplicate->result.answer, "the answer");
  EXPECT_EQ(log.read_stream(stream, 0).size(), 1u);
}

TEST(EventLog, EightWritersOnOneStreamHaveExactlyOneWinnerARound) {
  constexpr int kWriters = 8, kRounds = 500;
  const std::string stream = stream_name("instance", fresh_uuid());
  std::vector<std::unique_ptr<Log>> logs;
  for (int i = 0; i < kWriters; ++i) logs.push_back(std::make_unique<Log>(writer_dsn()));
  std::vector<std::atomic<int>> winners(kRounds);
  std::atomic<int> arrived{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      for (int round = 0; round < kRounds; ++round) {
        ++arrived;
        while (arrived < kWriters * (round + 1)) std::this_thread::yield();
        if (logs[static_cast<size_t>(w)]->append(request(stream, round, 1)).appended) {
          ++winners[static_cast<size_t>(round)];
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& count : winners) ASSERT_EQ(count, 1);
  EXPECT_EQ(logs[0]->read_stream(stream, 0).size(), static_cast<size_t>(kRounds));
}

// A transaction takes a position, a later one commits first: the reader waits at the hole.
TEST(EventLog, ReaderWaitsAtAHoleUntilItsTransactionEnds) {
  Log log(writer_dsn());
  ASSERT_TRUE(log.append(request(stream_name("instance", fresh_uuid()), 0, 1)).appended);
  Reader reader(writer_dsn(), 0);
  while (!reader.next(1000).empty()) {
  }
  pqxx::connection slow(writer_dsn());
  auto late = std::make_unique<pqxx::work>(slow);
  const std::string call =
      "SELECT * FROM log.append('instance-" + fresh_uuid() + "', 0, '" + fresh_uuid() +
      "', '', '', '', '', '{instance_created}', '{1}', '{\"\\\\x00\"}', '', NULL)";
  late->exec(call);
  ASSERT_TRUE(log.append(request(stream_name("instance", fresh_uuid()), 0, 1)).appended);
  EXPECT_TRUE(reader.next(10).empty());
  EXPECT_TRUE(reader.next(10).empty());
  late->commit();
  EXPECT_EQ(reader.next(10).size(), 2u);
}

TEST(EventLog, ReaderPassesAHoleThatAFailedTransactionLeft) {
  Log log(writer_dsn());
  Reader reader(writer_dsn(), 0);
  while (!reader.next(1000).empty()) {
  }
  {
    pqxx::connection broken(writer_dsn());
    pqxx::work transaction(broken);
    transaction.exec("SELECT * FROM log.append('instance-" + fresh_uuid() + "', 0, '" +
                     fresh_uuid() +
                     "', '', '', '', '', '{instance_created}', '{1}', '{\"\\\\x00\"}', '', NULL)");
    transaction.abort();
  }
  ASSERT_TRUE(log.append(request(stream_name("instance", fresh_uuid()), 0, 1)).appended);
  EXPECT_EQ(reader.next(10).size(), 1u);
}

TEST(EventLog, ReaderUnderConcurrentWritersSkipsNothing) {
  constexpr int kWriters = 6, kAppends = 150;
  int64_t start = 0;
  for (const auto& event : read_all()) start = event.position;
  std::atomic<bool> done{false};
  std::vector<int64_t> seen;
  std::thread reading([&] {
    Reader reader(writer_dsn(), start);
    while (true) {
      const bool last_round = done;
      const auto batch = reader.next(7);
      for (const auto& event : batch) seen.push_back(event.position);
      if (batch.empty() && last_round) return;
    }
  });
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      Log log(writer_dsn());
      for (int i = 0; i < kAppends; ++i) {
        log.append(request(stream_name("instance", fresh_uuid()), i % 5 == 4 ? 1 : 0, 1 + w % 3));
      }
    });
  }
  for (auto& writer : writers) writer.join();
  done = true;
  reading.join();
  std::vector<int64_t> held;
  for (const auto& event : read_all()) {
    if (event.position > start) held.push_back(event.position);
  }
  EXPECT_EQ(seen, held);
  EXPECT_GT(held.size(), 1000u);
}

TEST(EventLog, BulkReadingGivesTheSameEvents) {
  Log log(writer_dsn());
  for (int i = 1; i <= 20; ++i) {
    ASSERT_TRUE(log.append(request(stream_name("instance", fresh_uuid()), 0, i)).appended);
  }
  const auto all = read_all();
  std::vector<RecordedEvent> bulk;
  read_bulk(writer_dsn(), 0, all.back().position,
            [&](RecordedEvent&& event) { bulk.push_back(std::move(event)); });
  ASSERT_EQ(bulk.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(bulk[i].position, all[i].position);
    ASSERT_EQ(compute_hash(bulk[i]), all[i].hash);
  }
}

TEST(EventLog, NoServiceRoleCanChangeOrForge) {
  const std::vector<std::string> attempts = {
      "UPDATE log.event SET type = 'x'", "DELETE FROM log.event", "TRUNCATE log.event",
      "INSERT INTO log.event SELECT * FROM log.event LIMIT 1", "SELECT nextval('log.position_seq')",
      "ALTER TABLE log.event DISABLE TRIGGER ALL", "DROP TABLE log.event",
      "INSERT INTO log.writer VALUES ('group', 'tl_provisioner')"};
  for (const char* role :
       {"tl_provisioner", "tl_replication", "tl_metering", "tl_lookup", "tl_reader"}) {
    for (const auto& sql : attempts) {
      pqxx::connection connection(server().dsn("trunkline_log", role));
      pqxx::work work(connection);
      EXPECT_THROW(work.exec(sql), pqxx::insufficient_privilege) << role << ": " << sql;
    }
  }
}

TEST(EventLog, TheTriggerStopsEvenTheOwner) {
  Log log(writer_dsn());
  ASSERT_TRUE(log.append(request(stream_name("instance", fresh_uuid()), 0, 1)).appended);
  for (const char* sql : {"UPDATE log.event SET type = 'x'", "DELETE FROM log.event",
                          "TRUNCATE log.event"}) {
    pqxx::connection connection(server().dsn("trunkline_log"));
    pqxx::work work(connection);
    EXPECT_THROW(work.exec(sql), pqxx::insufficient_privilege) << sql;
  }
}

TEST(EventLog, AServiceAppendsOnlyToItsOwnAggregates) {
  Log log(server().dsn("trunkline_log", "tl_replication"));
  EXPECT_THROW(log.append(request(stream_name("instance", fresh_uuid()), 0, 1)), LogUnavailable);
  EXPECT_TRUE(log.append(request(stream_name("group", fresh_uuid()), 0, 1)).appended);
}

TEST(EventLog, WhoAskedIsKeptBesideTheAnswer) {
  Log log(writer_dsn());
  auto asked = request(stream_name("instance", fresh_uuid()), 0, 0);
  asked.result.audit = R"({"actor":"token:a","user_agent":"\"'\\ü"})";
  ASSERT_TRUE(log.append(asked).appended);
  auto silent = request(stream_name("instance", fresh_uuid()), 0, 1);
  ASSERT_TRUE(log.append(silent).appended);
  pqxx::connection connection(server().dsn("trunkline_log", "tl_lookup"));
  pqxx::work work(connection);
  const auto audit = [&](const Log::AppendRequest& of) {
    return work.exec_params1(
        "SELECT audit->>'actor', audit->>'user_agent' FROM log.command_result "
        "WHERE command_id = $1",
        of.metadata.command_id);
  };
  EXPECT_STREQ(audit(asked)[0].c_str(), "token:a");
  EXPECT_STREQ(audit(asked)[1].c_str(), "\"'\\ü");
  EXPECT_TRUE(audit(silent)[0].is_null());
}

// What is there of a log that was made before it: the column is not, nor is the function's last
// parameter.
TEST(EventLog, ALogWithoutAuditGetsIt) {
  TempPostgres own;
  own.create_platform_databases();
  Log log(own.dsn("trunkline_log", "tl_provisioner"));
  const std::string stream = stream_name("instance", fresh_uuid());
  const auto before = request(stream, 0, 1);
  ASSERT_TRUE(log.append(before).appended);
  {
    pqxx::connection connection(own.dsn("trunkline_log"));
    pqxx::nontransaction session(connection);
    session.exec("SET ROLE tl_owner");
    session.exec("ALTER TABLE log.command_result DROP COLUMN audit");
    session.exec("DROP FUNCTION log.append(text, bigint, uuid, text, text, text, text, text[], "
                 "integer[], bytea[], bytea, bytea, jsonb)");
    session.exec("CREATE FUNCTION log.append(text, bigint, uuid, text, text, text, text, text[], "
                 "integer[], bytea[], bytea, bytea) RETURNS boolean LANGUAGE sql "
                 "AS 'SELECT false'");
    own.apply_log_schema();
    own.apply_log_schema();
  }
  Log later(own.dsn("trunkline_log", "tl_provisioner"));
  auto asked = request(stream, 1, 1);
  asked.result.audit = R"({"actor":"token:a"})";
  ASSERT_TRUE(later.append(asked).appended);
  EXPECT_EQ(later.command_result(before.metadata.command_id)->answer, "the answer");
  EXPECT_EQ(later.read_stream(stream, 0).size(), 2u);
}

TEST(EventLog, AwayMeansUnavailableAndBackMeansItGoesOn) {
  TempPostgres own;
  own.create_platform_databases();
  Log log(own.dsn("trunkline_log", "tl_provisioner"));
  const std::string stream = stream_name("instance", fresh_uuid());
  ASSERT_TRUE(log.append(request(stream, 0, 1)).appended);
  own.crash();
  EXPECT_THROW(log.append(request(stream, 1, 1)), LogUnavailable);
  own.restart();
  EXPECT_TRUE(log.append(request(stream, 1, 1)).appended);
}

std::vector<RecordedEvent> sound_log() {
  std::vector<RecordedEvent> events;
  std::string hash(32, '\0');
  for (int version = 1; version <= 4; ++version) {
    RecordedEvent event;
    event.position = version * 2;
    event.stream = "instance-x";
    event.version = version;
    event.type = "instance_created";
    event.payload = "p" + std::to_string(version);
    event.previous_hash = hash;
    event.hash = hash = compute_hash(event);
    events.push_back(event);
  }
  return events;
}

std::vector<int64_t> damaged_versions(const std::vector<RecordedEvent>& events) {
  Verifier verifier;
  for (const auto& event : events) verifier.check(event);
  std::set<int64_t> versions;
  for (const auto& damage : verifier.damage()) versions.insert(damage.version);
  return {versions.begin(), versions.end()};
}

TEST(Verify, NamesThePlaceOfEveryKindOfDamage) {
  EXPECT_TRUE(damaged_versions(sound_log()).empty());
  auto flipped = sound_log();
  flipped[1].payload[0] ^= 1;
  EXPECT_EQ(damaged_versions(flipped), std::vector<int64_t>{2});
  auto flipped_last = sound_log();
  flipped_last[3].metadata.actor = "somebody";
  EXPECT_EQ(damaged_versions(flipped_last), std::vector<int64_t>{4});
  auto hole = sound_log();
  hole.erase(hole.begin() + 2);
  EXPECT_EQ(damaged_versions(hole), std::vector<int64_t>{4});
  auto beheaded = sound_log();
  beheaded.erase(beheaded.begin());
  EXPECT_EQ(damaged_versions(beheaded), std::vector<int64_t>{2});
  auto swapped = sound_log();
  std::swap(swapped[1], swapped[2]);
  EXPECT_EQ(damaged_versions(swapped), (std::vector<int64_t>{2, 3, 4}));
}

}  // namespace
}  // namespace trunkline::eventlog
