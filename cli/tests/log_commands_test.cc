// The `log` commands on a real PostgreSQL with the log's own schema.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "cli/tests/command_harness.h"
#include "eventlog/log.h"
#include "runtime/random.h"
#include "testing/temp_servers.h"
#include "trunkline/v1/envelope.pb.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LogCommandsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { postgres_ = new trunkline::testing::TempPostgres(); }
  static void TearDownTestSuite() {
    delete postgres_;
    postgres_ = nullptr;
  }

  // given: an instance with three events and a token with one
  LogCommandsTest() {
    postgres_->execute("postgres", "DROP DATABASE IF EXISTS trunkline_log");
    postgres_->execute("postgres", "DROP DATABASE IF EXISTS trunkline_lookup");
    postgres_->execute("postgres", "DROP DATABASE IF EXISTS trunkline_metering");
    for (const char* role :
         {"owner", "provisioner", "replication", "metering", "lookup", "relay", "reader"}) {
      postgres_->execute("postgres", std::string("DROP ROLE IF EXISTS tl_") + role);
    }
    postgres_->create_platform_databases();
    std::ofstream(directory_.path() + "/run.json")
        << R"({"api":"http://127.0.0.1:1","log_dsn":")"
        << postgres_->dsn("trunkline_log", "tl_reader") << R"("})";
    v1::InstanceEvent created;
    created.mutable_instance_created()->set_name("demo");
    append("instance-" + id_, 0, "instance_created", created.SerializeAsString());
    v1::InstanceEvent user;
    user.mutable_user_created()->set_name("app");
    user.mutable_user_created()->set_scram_verifier("SCRAM-SHA-256$4096:canary");
    append("instance-" + id_, 1, "user_created", user.SerializeAsString());
    v1::InstanceEvent active;
    active.mutable_instance_activated();
    append("instance-" + id_, 2, "instance_activated", active.SerializeAsString());
    v1::TokenEvent token;
    token.mutable_token_created()->set_sha256("canary");
    append("token-" + runtime::new_uuid(), 0, "token_created", token.SerializeAsString());
  }

  void append(const std::string& stream, int64_t version, const std::string& type,
              const std::string& payload) {
    eventlog::Log log(postgres_->dsn("trunkline_log", "tl_provisioner"));
    v1::CommandAnswer answer;
    answer.mutable_accepted()->set_version(static_cast<uint64_t>(version) + 1);
    eventlog::Log::AppendRequest request;
    request.stream = stream;
    request.expected_version = version;
    request.metadata.command_id = last_command_ = runtime::new_uuid();
    request.metadata.actor = "token:\x1b[2J";
    request.events = {{type, 1, payload}};
    request.result = {"hash", answer.SerializeAsString()};
    ASSERT_TRUE(log.append(request).appended);
  }
  Ran command(const std::vector<std::string>& arguments) {
    return run_command(arguments, {{"TRUNKLINE_HOME", directory_.path()}});
  }
  // Past the trigger, as only a superuser or a disk can.
  void damage(const std::string& sql) {
    postgres_->execute("trunkline_log",
                       "BEGIN; SET LOCAL session_replication_role = replica; " + sql + "; COMMIT");
  }

  static trunkline::testing::TempPostgres* postgres_;
  trunkline::testing::TempDirectory directory_;
  const std::string id_ = runtime::new_uuid();
  std::string last_command_;
};
trunkline::testing::TempPostgres* LogCommandsTest::postgres_ = nullptr;

TEST_F(LogCommandsTest, TailShowsTheNewestLast) {
  const Ran all = command({"log", "tail"});
  EXPECT_EQ(all.code, 0) << all.err;
  EXPECT_EQ(std::count(all.out.begin(), all.out.end(), '\n'), 4);
  EXPECT_LT(all.out.find("instance_created"), all.out.find("token_created"));
  EXPECT_THAT(all.out, Not(HasSubstr("\x1b")));
  const Ran two = command({"log", "tail", "-n", "2"});
  EXPECT_THAT(two.out, Not(HasSubstr("user_created")));
  EXPECT_THAT(two.out, HasSubstr("instance_activated"));
  EXPECT_EQ(command({"log", "tail", "-n", "0"}).out, "");
  const Ran one = command({"log", "tail", "-n", "1", "--stream", "instance-"});
  EXPECT_THAT(one.out, HasSubstr("instance_activated"));
  EXPECT_THAT(one.out, Not(HasSubstr("token_created")));
  const Ran typed = command({"log", "tail", "--type", "user_created"});
  EXPECT_EQ(std::count(typed.out.begin(), typed.out.end(), '\n'), 1);
}

TEST_F(LogCommandsTest, JsonIsOneObjectALine) {
  std::istringstream lines(command({"log", "tail", "-o", "json"}).out);
  std::string line;
  int64_t last = 0;
  int count = 0;
  while (std::getline(lines, line)) {
    const Json event = Json::parse(line);
    EXPECT_GT(event["position"].get<int64_t>(), last);
    last = event["position"].get<int64_t>();
    ++count;
  }
  EXPECT_EQ(count, 4);
}

TEST_F(LogCommandsTest, ShowDecodesAndMasks) {
  for (const std::string& name : {"instance-" + id_, id_}) {
    const Ran ran = command({"log", "show", name, "-o", "json"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.out, HasSubstr(R"("name":"app")"));
    EXPECT_THAT(ran.out, HasSubstr(R"("scram_verifier":"***")"));
    EXPECT_THAT(ran.out, Not(HasSubstr("canary")));
    EXPECT_THAT(ran.out, Not(HasSubstr("token_created")));
  }
  const Ran token = command({"log", "tail", "--type", "token_created"});
  EXPECT_THAT(token.out, HasSubstr(R"("sha256":"***")"));
  EXPECT_EQ(command({"log", "show", "instance-" + runtime::new_uuid()}).code, 3);
}

TEST_F(LogCommandsTest, AtSaysHowFarTheLogWas) {
  const Ran then = command({"log", "at", "2", "-o", "json"});
  EXPECT_EQ(then.code, 0) << then.err;
  EXPECT_EQ(Json::parse(then.out)["events"], 2);
  EXPECT_EQ(Json::parse(then.out)["streams"], 1);
  EXPECT_EQ(Json::parse(command({"log", "at", "2001-01-01T00:00:00Z", "-o", "json"}).out)["events"],
            0);
  EXPECT_EQ(Json::parse(command({"log", "at", "2999-01-01T00:00:00Z", "-o", "json"}).out)["events"],
            4);
}

TEST_F(LogCommandsTest, StatsCount) {
  const Ran ran = command({"log", "stats", "-o", "json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const Json stats = Json::parse(ran.out);
  EXPECT_EQ(stats["events"], 4);
  EXPECT_EQ(stats["streams"], 2);
  EXPECT_EQ(stats["types"].size(), 4u);
  EXPECT_GT(stats["per_second_last_minute"].get<double>(), 0);
  EXPECT_THAT(command({"log", "stats"}).out, HasSubstr("user_created"));
}

TEST_F(LogCommandsTest, ASoundLogIsExitCodeZero) {
  const Ran ran = command({"log", "verify"});
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("sound: 4 events in 2 streams up to position 4, 0 faults"));
}

TEST_F(LogCommandsTest, VerifyNamesAChangedByte) {
  damage("UPDATE log.event SET payload = set_byte(payload, 3, get_byte(payload, 3) # 1) "
         "WHERE position = 2");
  const Ran ran = command({"log", "verify"});
  EXPECT_EQ(ran.code, 6);
  EXPECT_THAT(ran.out, HasSubstr("position 2, stream instance-" + id_ + ", version 2"));
  EXPECT_THAT(ran.out, HasSubstr("1 faults"));
}

TEST_F(LogCommandsTest, VerifyNamesAHole) {
  damage("DELETE FROM log.event WHERE position = 2");
  const Ran ran = command({"log", "verify", "-o", "json"});
  EXPECT_EQ(ran.code, 6);
  EXPECT_THAT(ran.out, HasSubstr("version 3 follows 1"));
  EXPECT_FALSE(Json::parse(ran.out)["sound"].get<bool>());
}

TEST_F(LogCommandsTest, VerifyNamesAReorder) {
  damage("UPDATE log.event SET position = 100 WHERE position = 1");
  const Ran ran = command({"log", "verify"});
  EXPECT_EQ(ran.code, 6);
  EXPECT_THAT(ran.out, HasSubstr("position 100"));
}

TEST_F(LogCommandsTest, VerifyNamesATailThatWasTakenAway) {
  damage("DELETE FROM log.event WHERE position = 4");
  const Ran ran = command({"log", "verify"});
  EXPECT_EQ(ran.code, 6);
  EXPECT_THAT(ran.out, HasSubstr("command " + last_command_ + ": it was accepted, but none of"));
}

TEST_F(LogCommandsTest, ALogThatIsAwayIsExitCodeFour) {
  std::ofstream(directory_.path() + "/run.json")
      << R"({"api":"http://127.0.0.1:1","log_dsn":"host=/nonexistent dbname=x"})";
  for (const char* name : {"tail", "verify", "stats"}) {
    EXPECT_EQ(command({"log", name}).code, 4) << name;
  }
}

}  // namespace
}  // namespace trunkline::cli
