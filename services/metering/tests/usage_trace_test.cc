// The events that a line of usage came from, out of a long log: the right ones, by few looks.
#include "metering/io/usage_trace.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/digest.h"
#include "base/ids.h"
#include "eventlog/recorded_event.h"
#include "metering/domain/usage_state.h"
#include "testing/temp_servers.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {
namespace {

constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kFirstMs = 22'000'000 * kMinuteMs;
constexpr int64_t kEvents = 5'000;  // of each source, one a minute
constexpr int64_t kSources = 4;
const std::string kOurs = uuid_from_name("test/ours"), kTheirs = uuid_from_name("test/theirs");

std::string measured(const std::string& source) {
  v1::UsageEvent event;
  auto& body = *event.mutable_usage_measured();
  body.set_source(source);
  for (const auto& instance : {kOurs, kTheirs}) {
    auto& endpoint = *body.add_endpoints();
    endpoint.set_instance_id(instance);
    endpoint.mutable_used()->set_bytes_in(7);
    auto& node = *body.add_nodes();
    node.set_instance_id(instance);
    node.set_node_id(uuid_from_name("node of " + instance));
    node.mutable_used()->set_transactions(3);
  }
  return hex(event.SerializeAsString());
}

class UsageTraceTest : public ::testing::Test {
 protected:
  UsageTraceTest() {
    postgres_.create_platform_databases();
    server_ = std::make_unique<pqxx::connection>(postgres_.dsn("trunkline_log"));
    const char* sources[kSources] = {"host:host-a", "host:host-b", "proxy:one", "proxy:two"};
    for (int64_t s = 0; s < kSources; ++s) fill(s, sources[s]);
    postgres_.execute("trunkline_log", "VACUUM ANALYZE log.event");
  }
  // Event `version` of source s has position version * kSources + s and a minute of its own.
  void fill(int64_t s, const std::string& source) {
    const std::string place = std::to_string(s);
    postgres_.execute(
        "trunkline_log",
        "INSERT INTO log.event SELECT v * " + std::to_string(kSources) + " + " + place +
            ", '" + eventlog::stream_name("usage", source_uuid(source)) +
            "', v, 'usage_measured', 1, decode('" + measured(source) +
            "', 'hex'), gen_random_uuid(), '', '', 'test', '', (" + std::to_string(kFirstMs) +
            " + v * 60000) * 1000 + " + place + ", '', '' FROM generate_series(1, " +
            std::to_string(kEvents) + ") v");
  }
  static UsageLine line(Meter meter, int64_t minute, int64_t minutes = 1) {
    const int64_t from = kFirstMs + minute * kMinuteMs;
    return {from, from + minutes * kMinuteMs, kOurs, "", meter};
  }
  // Rows and index entries of the log that were read so far. A session tells when it ends.
  int64_t looks() {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    pqxx::nontransaction session(*server_);
    while (session.exec1("SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
                         "backend_type = 'client backend'")[0].as<int>() > 0) {
      if (std::chrono::steady_clock::now() > until) throw std::runtime_error("a session stays");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return session.exec1("SELECT (SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM "
                         "pg_stat_all_tables WHERE relid = 'log.event'::regclass) + (SELECT "
                         "sum(idx_tup_read) FROM pg_stat_all_indexes WHERE relid = "
                         "'log.event'::regclass)")[0].as<int64_t>();
  }
  TracePage ask(const UsageLine& line, const std::vector<std::string>& hosts,
                int64_t last_position = 0, int64_t after = 0, size_t limit = 1000) {
    UsageTrace trace(postgres_.dsn("trunkline_log", "tl_metering"));
    return trace.events_of(line, hosts, last_position, after, limit);
  }
  static std::vector<int64_t> positions(const TracePage& page) {
    std::vector<int64_t> out;
    for (const auto& text : page.events) {
      out.push_back(nlohmann::json::parse(text)["position"].get<int64_t>());
    }
    return out;
  }

  trunkline::testing::TempPostgres postgres_{{.settings = {"autovacuum=off"}}};
  std::unique_ptr<pqxx::connection> server_;
};

TEST_F(UsageTraceTest, OfProxiesAndOfHostsByFewLooks) {
  // What ends in the line's minute, up to the event that its newest record was closed behind.
  const int64_t first = 2'001 * kSources, last = first + kSources - 1;
  const std::pair<Meter, std::vector<int64_t>> rows[] = {
      {Meter::bytes_in, {first + 2, first + 3}}, {Meter::transactions, {first}}};
  for (const auto& [meter, wanted] : rows) {
    const int64_t before = looks();
    const auto page = ask(line(meter, 2'000), {"host-a"}, last);
    const int64_t taken = looks() - before;
    EXPECT_EQ(positions(page), wanted);
    EXPECT_EQ(page.next_position, 0);
    EXPECT_GT(taken, 0);
    EXPECT_LT(taken, 1'000) << "of " << kEvents * kSources << " events";
    EXPECT_EQ(page.events.front().find(kTheirs), std::string::npos);
  }
}

TEST_F(UsageTraceTest, PageByPageEachOnce) {
  const auto whole = ask(line(Meter::bytes_in, 500, 300), {}, 0, 0, 100'000);
  EXPECT_GE(whole.events.size(), 600u);
  std::vector<int64_t> got;
  int64_t after = 0;
  do {
    const auto page = ask(line(Meter::bytes_in, 500, 300), {}, 0, after, 70);
    EXPECT_LE(page.events.size(), 70u);
    const auto more = positions(page);
    got.insert(got.end(), more.begin(), more.end());
    after = page.next_position;
  } while (after != 0 && got.size() <= whole.events.size());
  EXPECT_EQ(got, positions(whole));
}

TEST_F(UsageTraceTest, NothingOfHostsThatAreNotItsOwn) {
  EXPECT_TRUE(ask(line(Meter::transactions, 2'000), {}).events.empty());
  EXPECT_TRUE(ask(line(Meter::transactions, 2'000), {"host-z"}).events.empty());
}

}  // namespace
}  // namespace trunkline::metering
