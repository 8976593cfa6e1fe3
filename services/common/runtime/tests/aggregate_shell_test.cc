// The command shell on a real log, with the smallest aggregate that can accept, ignore and reject.
#include "runtime/aggregate_shell.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <pqxx/pqxx>
#include <thread>

#include "testing/temp_servers.h"

namespace trunkline::runtime {
namespace {

// A light that can be switched on under a name and off; on twice under another name is refused.
struct Light {
  struct State {
    std::string name;
    bool on = false;
    int switched = 0;
  };
  using Command = v1::TokenCommand;
  using Event = v1::TokenEvent;
  struct Facts {};
  static constexpr const char* kName = "token";
  static State initial(const std::string&) { return {}; }

  static Decision<Event> decide(const State& state, const Command& command, const Facts&,
                                TimePoint) {
    Event event;
    if (command.has_create_token()) {
      if (state.on && state.name == command.create_token().name()) return ignore("is on");
      if (state.on) return reject(RejectionBlame::conflict, "already_on", "it is on");
      event.mutable_token_created()->set_name(command.create_token().name());
    } else {
      event.mutable_token_revoked();
    }
    return accept<Event>({event});
  }
  static void evolve(State& state, const Event& event, TimePoint) {
    ++state.switched;
    state.on = event.has_token_created();
    if (state.on) state.name = event.token_created().name();
  }
};

class AggregateShellTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    postgres_ = new testing::TempPostgres;
    postgres_->create_platform_databases();
    nats_ = new testing::TempNats;
  }
  static void TearDownTestSuite() {
    delete nats_;
    delete postgres_;
  }
  AggregateShellTest()
      : bus_(bus::Bus::connect({nats_->url(), "test", "test", "shell_test"}, milliseconds(5000))),
        log_(postgres_->dsn("trunkline_log", "tl_provisioner")),
        shell_(log_, *bus_),
        id_(new_uuid()) {}

  v1::CommandAnswer switch_on(AggregateShell<Light>& shell, const std::string& name,
                              const std::string& command_id = new_uuid(), bool record = true) {
    v1::TokenCommand body;
    body.mutable_create_token()->set_name(name);
    return shell.handle(command(command_id), body, {}, record);
  }
  v1::CommandAnswer switch_off(AggregateShell<Light>& shell) {
    v1::TokenCommand body;
    body.mutable_revoke_token();
    return shell.handle(command(new_uuid()), body, {}, true);
  }
  v1::Command command(const std::string& command_id) {
    v1::Command out;
    out.set_command_id(command_id);
    out.set_aggregate_id(id_);
    out.set_actor("test");
    return out;
  }

  static testing::TempPostgres* postgres_;
  static testing::TempNats* nats_;
  std::unique_ptr<bus::Bus> bus_;
  eventlog::Log log_;
  AggregateShell<Light> shell_;
  std::string id_;
};

testing::TempPostgres* AggregateShellTest::postgres_ = nullptr;
testing::TempNats* AggregateShellTest::nats_ = nullptr;

TEST_F(AggregateShellTest, AcceptedIsAppendedFoldedAndAnsweredWithItsPosition) {
  const auto answer = switch_on(shell_, "hall");
  ASSERT_TRUE(answer.has_accepted());
  EXPECT_GT(answer.accepted().position(), 0u);
  EXPECT_EQ(answer.accepted().version(), 1u);
  EXPECT_TRUE(shell_.find(id_)->state.on);
  EXPECT_EQ(log_.read_stream("token-" + id_, 0).size(), 1u);
}

TEST_F(AggregateShellTest, TheSameCommandHasOneEffectAndTheSameAnswer) {
  const std::string command_id = new_uuid();
  const auto first = switch_on(shell_, "hall", command_id);
  const auto again = switch_on(shell_, "hall", command_id);
  EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
  AggregateShell<Light> restarted(log_, *bus_);
  const auto after_restart = switch_on(restarted, "hall", command_id);
  EXPECT_EQ(after_restart.SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(log_.read_stream("token-" + id_, 0).size(), 1u);
}

TEST_F(AggregateShellTest, TheSameCommandForAnotherAggregateIsAnotherRequest) {
  const std::string command_id = new_uuid();
  ASSERT_TRUE(switch_on(shell_, "hall", command_id).has_accepted());
  const std::string first = std::exchange(id_, new_uuid());
  EXPECT_EQ(switch_on(shell_, "hall", command_id).rejected().rule(), "idempotency_key_reused");
  EXPECT_TRUE(log_.read_stream("token-" + id_, 0).empty());
  id_ = first;
  EXPECT_TRUE(switch_on(shell_, "hall", command_id).has_accepted());
}

// Results of before have the hash of the body alone.
TEST_F(AggregateShellTest, AnOlderResultIsStillTheAnswer) {
  v1::TokenCommand body;
  body.mutable_create_token()->set_name("hall");
  eventlog::Log::AppendRequest before;
  before.stream = "token-" + id_;
  before.metadata.command_id = new_uuid();
  before.metadata.actor = "test";
  before.events.push_back({"token_created", 1, [] {
                             v1::TokenEvent event;
                             event.mutable_token_created()->set_name("hall");
                             return event.SerializeAsString();
                           }()});
  before.result.request_hash = sha256(body.SerializeAsString());
  v1::CommandAnswer accepted;
  accepted.mutable_accepted();
  before.result.answer = accepted.SerializeAsString();
  ASSERT_TRUE(log_.append(before).appended);
  EXPECT_TRUE(switch_on(shell_, "hall", before.metadata.command_id).has_accepted());
  EXPECT_EQ(switch_on(shell_, "attic", before.metadata.command_id).rejected().rule(),
            "idempotency_key_reused");
  id_ = new_uuid();
  EXPECT_EQ(switch_on(shell_, "hall", before.metadata.command_id).rejected().rule(),
            "idempotency_key_reused");
}

TEST_F(AggregateShellTest, ARejectionIsTheAnswerForGood) {
  ASSERT_TRUE(switch_on(shell_, "hall").has_accepted());
  const std::string command_id = new_uuid();
  EXPECT_EQ(switch_on(shell_, "attic", command_id).rejected().rule(), "already_on");
  ASSERT_TRUE(switch_off(shell_).has_accepted());
  EXPECT_EQ(switch_on(shell_, "attic", command_id).rejected().rule(), "already_on");
  EXPECT_TRUE(switch_on(shell_, "attic").has_accepted());
}

TEST_F(AggregateShellTest, WhoAskedAndWhatCameOfItIsKeptWithTheAnswer) {
  const auto audit_of = [&](const std::string& command_id) {
    pqxx::connection connection(postgres_->dsn("trunkline_log", "tl_reader"));
    pqxx::work work(connection);
    const auto rows = work.exec_params(
        "SELECT audit::text FROM log.command_result WHERE command_id = $1", command_id);
    return rows.empty() || rows[0][0].is_null() ? nlohmann::json()
                                                : nlohmann::json::parse(rows[0][0].c_str());
  };
  v1::TokenCommand body;
  body.mutable_create_token()->set_name("hall");
  v1::Command asked = command(new_uuid());
  asked.mutable_origin()->set_role("member");
  asked.mutable_origin()->set_project_id("p");
  asked.mutable_origin()->set_client_address("192.0.2.7");
  asked.mutable_origin()->set_user_agent(std::string("a\0b\x1b\"\\", 6) + std::string(999, 'x'));
  asked.set_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  ASSERT_TRUE(shell_.handle(asked, body, {}, true).has_accepted());
  const auto kept = audit_of(asked.command_id());
  EXPECT_EQ(kept.at("actor"), "test");
  EXPECT_EQ(kept.at("role"), "member");
  EXPECT_EQ(kept.at("project_id"), "p");
  EXPECT_EQ(kept.at("client_address"), "192.0.2.7");
  EXPECT_EQ(kept.at("user_agent"), "a?b?\"\\" + std::string(250, 'x'));
  EXPECT_EQ(kept.at("command"), "create_token");
  EXPECT_EQ(kept.at("target"), "token-" + id_);
  EXPECT_EQ(kept.at("outcome"), "accepted");
  EXPECT_FALSE(kept.contains("rule"));
  EXPECT_EQ(kept.at("traceparent"), asked.traceparent());

  const std::string refused = new_uuid(), ignored = new_uuid(), unrecorded = new_uuid();
  switch_on(shell_, "attic", refused);
  switch_on(shell_, "hall", ignored);
  switch_on(shell_, "cellar", unrecorded, false);
  EXPECT_EQ(audit_of(refused).at("outcome"), "rejected");
  EXPECT_EQ(audit_of(refused).at("rule"), "already_on");
  EXPECT_EQ(audit_of(ignored).at("outcome"), "ignored");
  EXPECT_TRUE(audit_of(unrecorded).is_null());
}

TEST_F(AggregateShellTest, AnIdThatComesBackWithAnotherBodyIsRefused) {
  const std::string command_id = new_uuid();
  ASSERT_TRUE(switch_on(shell_, "hall", command_id).has_accepted());
  EXPECT_EQ(switch_on(shell_, "attic", command_id).rejected().rule(), "idempotency_key_reused");
}

TEST_F(AggregateShellTest, AnotherWriterIsNoticedAndTheDecisionIsMadeAnew) {
  eventlog::Log other_log(postgres_->dsn("trunkline_log", "tl_provisioner"));
  AggregateShell<Light> other(other_log, *bus_);
  ASSERT_TRUE(switch_on(shell_, "hall").has_accepted());
  ASSERT_TRUE(switch_off(other).has_accepted());
  ASSERT_TRUE(switch_on(other, "attic").has_accepted());
  EXPECT_EQ(switch_on(shell_, "cellar").rejected().rule(), "already_on");
  EXPECT_EQ(shell_.find(id_)->version, 3);
}

TEST_F(AggregateShellTest, AnEventThatWasFoldedAlreadyChangesNothing) {
  ASSERT_TRUE(switch_on(shell_, "hall").has_accepted());
  const auto events = log_.read_stream("token-" + id_, 0);
  EXPECT_FALSE(shell_.apply(events[0]));
  AggregateShell<Light> fresh(log_, *bus_);
  EXPECT_TRUE(fresh.apply(events[0]));
  EXPECT_FALSE(fresh.apply(events[0]));
  EXPECT_EQ(fresh.find(id_)->state.switched, 1);
}

TEST_F(AggregateShellTest, AMissedEventIsReadFromTheLog) {
  for (const char* name : {"hall", "attic"}) {
    ASSERT_TRUE(switch_on(shell_, name).has_accepted());
    ASSERT_TRUE(switch_off(shell_).has_accepted());
  }
  AggregateShell<Light> fresh(log_, *bus_);
  EXPECT_TRUE(fresh.apply(log_.read_stream("token-" + id_, 0)[2]));
  EXPECT_EQ(fresh.find(id_)->version, 4);
}

TEST_F(AggregateShellTest, AChangedByteStopsTheAggregateAndNoOther) {
  ASSERT_TRUE(switch_on(shell_, "hall").has_accepted());
  postgres_->execute("trunkline_log",
                     "SET session_replication_role = replica; UPDATE log.event SET payload = "
                     "payload || '\\x00' WHERE stream = 'token-" + id_ + "'");
  AggregateShell<Light> fresh(log_, *bus_);
  const auto refused = switch_off(fresh);
  ASSERT_TRUE(refused.has_unavailable());
  EXPECT_NE(refused.unavailable().why().find("hash does not match"), std::string::npos);
  id_ = new_uuid();
  EXPECT_TRUE(switch_on(fresh, "attic").has_accepted());
}

TEST_F(AggregateShellTest, ManyShellsOnOneStreamLoseNothing) {
  constexpr int kShells = 4, kRounds = 25;
  std::vector<std::thread> threads;
  std::atomic<int> accepted{0};
  for (int i = 0; i < kShells; ++i) {
    threads.emplace_back([&] {
      eventlog::Log log(postgres_->dsn("trunkline_log", "tl_provisioner"));
      AggregateShell<Light> shell(log, *bus_);
      for (int round = 0; round < kRounds; ++round) {
        if (switch_off(shell).has_accepted()) ++accepted;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(log_.read_stream("token-" + id_, 0).size(), static_cast<size_t>(accepted));
  EXPECT_GT(accepted, kRounds);
}

}  // namespace
}  // namespace trunkline::runtime
