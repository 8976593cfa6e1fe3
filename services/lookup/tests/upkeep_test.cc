// The read model stays the fold of the log, whatever is done to it, on real servers.
#include <csignal>
#include <filesystem>
#include <fstream>

#include "lookup/tests/lookup_fixture.h"

namespace trunkline::lookup {
namespace {

using namespace testing;

TEST_F(LookupTest, APoisonEventBlocksItsOwnStreamOnly) {
  Service service(*servers);
  writer.instance("sick", created("sick"));
  const int64_t poisoned = writer.raw("instance-" + id("sick"), "instance_moved", "\xff\xff");
  writer.instance("sick", renamed("sick no more"));
  writer.raw("version-X", "version_created", "");
  const int64_t at = running_pair("well");
  const auto well = service.ask(get(v1::KIND_INSTANCE, id("well"), at));
  EXPECT_EQ(json::parse(well.json(0)).at("status"), "ACTIVE");
  const auto sick = service.ask(get(v1::KIND_INSTANCE, id("sick"), at));
  EXPECT_EQ(json::parse(sick.json(0)).at("name"), "sick");
  const json listed = service.order({{"op", "poison"}});
  EXPECT_EQ(listed.at("poison"), 3);
  EXPECT_EQ(listed.at("events").at(0).at("position"), poisoned);
  const std::string before = service.checksum();
  const json retried = service.order({{"op", "retry-poison"}});
  EXPECT_EQ(retried.at("still_poisoned"), 3);
  EXPECT_EQ(service.order({{"op", "poison"}}).at("events").at(0).at("retried"), 1);
  EXPECT_EQ(service.checksum(), before);
  ASSERT_EQ(service.order({{"op", "rebuild"}}).at("ok"), true);
  EXPECT_EQ(service.checksum(), before);
  EXPECT_EQ(service.order({{"op", "poison"}}).at("poison"), 3);
}

// What blocked a stream was a fault of ours: here, marked so by hand.
TEST_F(LookupTest, RetriedEventsAreProjectedInOrder) {
  int64_t at = 0;
  {
    Service service(*servers);
    writer.instance("healed", created("healed"));
    at = writer.instance("healed", renamed("healed 2"));
    ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("healed"), at)).status(),
              v1::QUERY_STATUS_OK);
  }
  servers->postgres.execute("trunkline_lookup",
                            "INSERT INTO read_model.poison VALUES (" + std::to_string(at + 1) +
                                ", 'instance-" + id("healed") + "', 3, 'instance_renamed', 'x')");
  Service service(*servers);
  writer.instance("healed", renamed("healed 3"));
  const int64_t last = writer.instance("healed", renamed("healed 4"));
  const auto blocked = service.ask(get(v1::KIND_INSTANCE, id("healed"), last));
  EXPECT_EQ(json::parse(blocked.json(0)).at("name"), "healed 2");
  service.order({{"op", "retry-poison"}, {"stream", "instance-" + id("healed")}});
  const auto healed = service.ask(get(v1::KIND_INSTANCE, id("healed"), last));
  EXPECT_EQ(json::parse(healed.json(0)).at("name"), "healed 4");
  const std::string before = service.checksum();
  service.order({{"op", "rebuild"}});
  EXPECT_EQ(service.checksum(), before);
}

TEST_F(LookupTest, WhateverIsDoneToTheReadModelItComesBackIdentical) {
  Service service(*servers);
  const int64_t at = running_pair("rebuilt");
  ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("rebuilt"), at)).status(), v1::QUERY_STATUS_OK);
  const std::string before = service.checksum();
  for (const char* damage : {"DROP SCHEMA read_model CASCADE", "TRUNCATE read_model.documents",
                             "DELETE FROM read_model.documents WHERE kind = 'instance'",
                             "UPDATE read_model.documents SET doc = '{}'",
                             "DROP TABLE read_model.documents", "DROP TABLE read_model.poison",
                             "DELETE FROM read_model.checkpoint",
                             "UPDATE read_model.checkpoint SET position = position + 1000"}) {
    servers->postgres.execute("trunkline_lookup", damage);
    EXPECT_TRUE(await([&] {
      const json digest = service.order({{"op", "checksum"}});
      return service.projector.ready() && digest.value("checksum", "") == before &&
             digest.value("position", 0) == service.gate.position();
    })) << damage;
  }
  const int64_t later = running_pair("after");
  EXPECT_EQ(service.ask(get(v1::KIND_INSTANCE, id("after"), later)).status(),
            v1::QUERY_STATUS_OK);
}

TEST_F(LookupTest, AnswersAndGoesOnWhileItRebuilds) {
  Service service(*servers);
  const int64_t at = running_pair("meanwhile");
  ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("meanwhile"), at)).status(),
            v1::QUERY_STATUS_OK);
  std::atomic<bool> stop{false};
  std::thread rebuilding([&] {
    while (!stop) EXPECT_EQ(service.order({{"op", "rebuild"}}).at("ok"), true);
  });
  // On a machine without a moment to spare a position can be late, never missing.
  const auto ask = [&](const v1::Query& query) {
    v1::QueryAnswer got;
    EXPECT_TRUE(await([&] {
      got = service.ask(query);
      return got.status() != v1::QUERY_STATUS_BEHIND;
    }));
    return got;
  };
  for (int i = 0; i < 50; ++i) {
    const std::string name = "meanwhile " + std::to_string(i);
    const int64_t written = writer.instance(name, created(name));
    const auto got = ask(get(v1::KIND_INSTANCE, id(name), written));
    EXPECT_EQ(got.status(), v1::QUERY_STATUS_OK) << got.message();
    v1::Query asked = list(v1::KIND_INSTANCE, written, kProject);
    asked.mutable_list_resources()->set_limit(1);
    const auto listed = ask(asked);
    EXPECT_EQ(listed.status(), v1::QUERY_STATUS_OK) << listed.message();
  }
  stop = true;
  rebuilding.join();
}

TEST_F(LookupTest, GoesOnFromItsCheckpointAfterACrashOfPostgres) {
  Service service(*servers);
  const int64_t at = running_pair("before the crash");
  ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("before the crash"), at)).status(),
            v1::QUERY_STATUS_OK);
  servers->postgres.crash();
  EXPECT_EQ(service.ask(list(v1::KIND_INSTANCE, 0, kProject)).status(),
            v1::QUERY_STATUS_UNAVAILABLE);
  EXPECT_EQ(service.ask(get(v1::KIND_INSTANCE, id("before the crash"))).status(),
            v1::QUERY_STATUS_OK);
  servers->postgres.restart();
  LogWriter again(servers->postgres.dsn("trunkline_log", "tl_provisioner"),
                  servers->postgres.dsn("trunkline_log", "tl_replication"));
  again.instance("after the crash", created("after the crash"));
  EXPECT_TRUE(await([&] {
    return service.ask(get(v1::KIND_INSTANCE, id("after the crash"))).status() ==
           v1::QUERY_STATUS_OK;
  }));
  const std::string before = service.checksum();
  service.order({{"op", "rebuild"}});
  EXPECT_EQ(service.checksum(), before);
}

// The projector's session ends while it is in the middle of a batch.
TEST_F(LookupTest, ABatchThatIsCutOffIsTakenAgain) {
  Service service(*servers);
  const int64_t at = running_pair("cut");
  ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("cut"), at)).status(), v1::QUERY_STATUS_OK);
  int64_t last = 0;
  {
    pqxx::connection holder(servers->postgres.dsn("trunkline_lookup"));
    pqxx::work lock(holder);
    lock.exec0("LOCK TABLE read_model.documents IN EXCLUSIVE MODE");
    for (int i = 0; i < 5; ++i) {
      last = writer.instance("cut", renamed("cut " + std::to_string(i)));
    }
    const std::string waiting =
        "FROM pg_stat_activity WHERE datname = 'trunkline_lookup' AND wait_event_type = 'Lock'";
    pqxx::connection judge(servers->postgres.dsn());
    ASSERT_TRUE(await([&] {
      return pqxx::nontransaction(judge).exec1("SELECT count(*) " + waiting)[0].as<int>() > 0;
    }));
    pqxx::nontransaction(judge).exec("SELECT pg_terminate_backend(pid) " + waiting);
  }
  ASSERT_TRUE(await([&] {
    return service.ask(get(v1::KIND_INSTANCE, id("cut"), last)).status() == v1::QUERY_STATUS_OK;
  }));
  EXPECT_EQ(json::parse(service.ask(get(v1::KIND_INSTANCE, id("cut"), last)).json(0)).at("name"),
            "cut 4");
  const std::string before = service.checksum();
  service.order({{"op", "rebuild"}});
  EXPECT_EQ(service.checksum(), before);
}

// The real program, killed again and again while events come.
TEST_F(LookupTest, GoesOnFromItsCheckpointWhereverItIsKilled) {
  trunkline::testing::TempDirectory directory;
  const std::string config = directory.path() + "/lookup.json";
  std::ofstream(config) << json{{"service", "lookup"},
                                {"home", directory.path()},
                                {"nats", {{"url", servers->nats.url()},
                                          {"user", "test"},
                                          {"password", "test"}}},
                                {"log_dsn", servers->log_dsn()},
                                {"read_model_dsn", servers->model_dsn()}};
  std::filesystem::permissions(config, std::filesystem::perms(0600));
  int64_t last = 0;
  for (int round = 0; round < 8; ++round) {
    trunkline::testing::Child program;
    program.start({TRUNKLINE_LOOKUP_PROGRAM, "--config", config}, directory.path() + "/log",
                  false);
    const std::string name = "killed " + std::to_string(round);
    last = running_pair(name);
    pqxx::connection judge(servers->model_dsn());
    ASSERT_TRUE(await([&] {
      try {
        pqxx::nontransaction session(judge);
        return session.exec1("SELECT position FROM read_model.checkpoint")[0].as<int64_t>() >= last;
      } catch (const pqxx::sql_error&) {
        return false;
      }
    })) << "round " << round;
    for (int i = 0; i <= round * 3; ++i) writer.instance(name, renamed(name + std::to_string(i)));
    program.kill(SIGKILL);
  }
  Service service(*servers);
  last = writer.instance("killed 0", renamed("killed at last"));
  const auto answer = service.ask(get(v1::KIND_INSTANCE, id("killed 0"), last));
  ASSERT_EQ(answer.status(), v1::QUERY_STATUS_OK);
  const std::string before = service.checksum();
  service.order({{"op", "rebuild"}});
  EXPECT_EQ(service.checksum(), before);
}

// A read model that is ahead of the log, or of another one, is not believed.
TEST_F(LookupTest, AReadModelOfAnotherLogIsRebuilt) {
  std::string before;
  {
    Service service(*servers);
    ASSERT_TRUE(await([&] { return service.projector.ready(); }));
    const int64_t at = writer.instance("log", created("log"));
    ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("log"), at)).status(), v1::QUERY_STATUS_OK);
    before = service.checksum();
  }
  for (const char* change : {"UPDATE read_model.checkpoint SET position = position + 1000000",
                             "UPDATE read_model.checkpoint SET hash = '\\x00'",
                             "UPDATE read_model.checkpoint SET format = -1"}) {
    servers->postgres.execute("trunkline_lookup", change);
    Service service(*servers);
    EXPECT_TRUE(await([&] { return service.projector.ready() && service.checksum() == before; }))
        << change;
  }
}

}  // namespace
}  // namespace trunkline::lookup
