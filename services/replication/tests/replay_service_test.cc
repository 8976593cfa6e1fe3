// Decisions about failovers by the bus: page by page, each once, and no answer too large for it.
#include "replication/io/replay_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "bus/streams.h"
#include "replication/tests/failover_scene.h"
#include "testing/temp_servers.h"

namespace trunkline::replication::test {
namespace {

using nlohmann::json;

constexpr size_t kMostOnTheBus = 1'000'000;
const std::string kInstance = uuid_from_name("test/instance");

// A failover that says again and again what it waits for, in so many words.
std::vector<v1::GroupEvent> events_with(const std::vector<size_t>& lengths) {
  Scene scene;
  scene.lose_primary();
  std::vector<v1::GroupEvent> out(scene.group.events.begin(), scene.group.events.end());
  const uint64_t term = failover_under_way(scene.group.state)->term;
  for (const size_t length : lengths) {
    auto& blocked = *out.emplace_back().mutable_failover_blocked();
    blocked.set_term(term);
    blocked.mutable_reason()->set_rule("failover_too_few_voters");
    blocked.mutable_reason()->set_why(std::string(length, 'w'));
  }
  return out;
}

class ReplayServiceTest : public ::testing::Test {
 protected:
  void start(const std::vector<v1::GroupEvent>& events) {
    postgres_.create_platform_databases();
    const auto dsn = postgres_.dsn("trunkline_log", "tl_replication");
    eventlog::Log::AppendRequest request;
    request.stream = eventlog::stream_name("group", kInstance);
    request.metadata.command_id = uuid_from_name("test/command");
    request.record_result = false;
    for (const auto& event : events) {
      const auto* field = v1::GroupEvent::descriptor()->FindFieldByNumber(
          static_cast<int>(event.body_case()));
      request.events.push_back({field->name(), 1, event.SerializeAsString()});
    }
    eventlog::Log log(dsn);
    ASSERT_TRUE(log.append(request).appended);
    bus_ = bus::Bus::connect({nats_.url(), "test", "test", "replay-test"},
                             std::chrono::seconds(10));
    service_ = std::make_unique<ReplayService>(*bus_, dsn);
  }
  v1::QueryAnswer ask(uint32_t limit, int64_t before = 0, int64_t position = 0,
                      const std::string& instance = kInstance) {
    v1::Query query;
    auto& asked = *query.mutable_replay_failovers();
    asked.set_instance_id(instance);
    asked.set_limit(limit);
    asked.set_before_position(before);
    asked.set_position(position);
    const auto message = bus_->request(bus::kReplicationSubject, query.SerializeAsString(),
                                       std::chrono::seconds(30));
    v1::QueryAnswer answer;
    EXPECT_TRUE(message && answer.ParseFromString(message->data));
    EXPECT_TRUE(message && message->data.size() < kMostOnTheBus);
    return answer;
  }
  // All pages: the decisions' positions, and how many are on each.
  struct Read {
    std::vector<int64_t> positions;
    std::vector<int> pages;
  };
  Read read_all(uint32_t limit) {
    Read out;
    for (int64_t before = 0; out.pages.size() < 1'000;) {
      const auto answer = ask(limit, before);
      EXPECT_EQ(answer.status(), v1::QUERY_STATUS_OK) << answer.message();
      for (const auto& text : answer.json()) {
        out.positions.push_back(json::parse(text)["position"].get<int64_t>());
      }
      out.pages.push_back(answer.json_size());
      if (answer.next_marker().empty()) return out;
      EXPECT_EQ(answer.next_marker(), std::to_string(out.positions.back()));
      before = std::stoll(answer.next_marker());
    }
    return out;
  }

  trunkline::testing::TempPostgres postgres_;
  trunkline::testing::TempNats nats_;
  std::unique_ptr<bus::Bus> bus_;
  std::unique_ptr<ReplayService> service_;
};

TEST_F(ReplayServiceTest, PagesHoldWhatWasAskedForAndEachDecisionOnce) {
  start(events_with(std::vector<size_t>(20, 10)));
  const Read whole = read_all(0);
  ASSERT_EQ(whole.pages.size(), 1u);
  ASSERT_GT(whole.positions.size(), 20u);
  EXPECT_TRUE(std::is_sorted(whole.positions.rbegin(), whole.positions.rend()));
  const Read paged = read_all(7);
  EXPECT_EQ(paged.positions, whole.positions);
  for (size_t i = 0; i + 1 < paged.pages.size(); ++i) EXPECT_EQ(paged.pages[i], 7);
  // As many as fill the pages: no page is empty, and the last one says that it is.
  const auto all = static_cast<uint32_t>(whole.positions.size());
  EXPECT_EQ(read_all(all).pages, std::vector<int>{static_cast<int>(all)});

  const auto one = ask(0, 0, whole.positions[3]);
  ASSERT_EQ(one.json_size(), 1);
  EXPECT_EQ(json::parse(one.json(0))["position"], whole.positions[3]);
  EXPECT_EQ(ask(0, 0, 1'000'000).status(), v1::QUERY_STATUS_NOT_FOUND);
  EXPECT_EQ(ask(0, 0, 0, uuid_from_name("test/another")).json_size(), 0);
  EXPECT_EQ(ask(0, 0, 0, "no uuid").status(), v1::QUERY_STATUS_NOT_FOUND);
}

TEST_F(ReplayServiceTest, AnAnswerIsNeverTooLargeForTheBus) {
  std::vector<size_t> lengths(120, 10'000);
  lengths[60] = 600'000;  // more than a page alone
  start(events_with(lengths));
  const Read all = read_all(0);
  EXPECT_GT(all.positions.size(), lengths.size());
  EXPECT_GE(all.pages.size(), 4u);
  EXPECT_THAT(all.pages, ::testing::Contains(1));
  EXPECT_TRUE(std::is_sorted(all.positions.rbegin(), all.positions.rend()));
  EXPECT_EQ(std::adjacent_find(all.positions.begin(), all.positions.end()), all.positions.end());
}

}  // namespace
}  // namespace trunkline::replication::test
