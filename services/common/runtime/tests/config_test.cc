#include "runtime/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <thread>

#include "base/ids.h"
#include "runtime/random.h"

namespace trunkline::runtime {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    char name[] = "/tmp/trunkline-config-XXXXXX";
    const int file = mkstemp(name);
    EXPECT_GE(file, 0);
    close(file);
    path_ = name;
  }
  ~ConfigTest() override { unlink(path_.c_str()); }

  ServiceConfig load(const std::string& text) {
    std::ofstream(path_) << text;
    return load_arguments({"service", "--config", path_});
  }
  ServiceConfig load_arguments(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    return load_config(static_cast<int>(argv.size()), argv.data());
  }
  std::string failure(const std::string& text) {
    try {
      load(text);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "nothing thrown";
  }

  std::string path_;
};

const char kWhole[] = R"({"service": "lookup", "home": "/srv/t",
  "nats": {"url": "nats://127.0.0.1:8082", "user": "lookup", "password": "canary-42"},
  "log_dsn": "host=/s dbname=trunkline_log", "read_model_dsn": "host=/s", "query_threads": 4})";

TEST_F(ConfigTest, ReadsAllFields) {
  const ServiceConfig config = load(kWhole);
  EXPECT_EQ(config.service, "lookup");
  EXPECT_EQ(config.home, "/srv/t");
  EXPECT_EQ(config.bus.url, "nats://127.0.0.1:8082");
  EXPECT_EQ(config.bus.user, "lookup");
  EXPECT_EQ(config.bus.password, "canary-42");
  EXPECT_EQ(config.bus.client_name, "lookup");
  EXPECT_EQ(config.log_dsn, "host=/s dbname=trunkline_log");
  EXPECT_EQ(config.read_model_dsn, "host=/s");
  EXPECT_EQ(config.raw->at("query_threads"), 4);
}

TEST_F(ConfigTest, TakesTheEqualsForm) {
  std::ofstream(path_) << kWhole;
  EXPECT_EQ(load_arguments({"service", "--config=" + path_}).service, "lookup");
}

TEST_F(ConfigTest, NamesWhatIsWrong) {
  EXPECT_THAT(failure(R"({"home": "/x"})"), HasSubstr("\"service\" is missing"));
  EXPECT_THAT(failure(R"({"service": 7, "home": "/x"})"), HasSubstr("\"service\" must be a str"));
  EXPECT_THAT(failure(R"({"service": "a", "home": "/x", "nats": {"url": "u"}})"),
              HasSubstr("\"user\" is missing"));
  EXPECT_THAT(failure(R"({"service": "a", "home": "/x", "nats": "u"})"),
              HasSubstr("\"nats\" must be an object"));
  EXPECT_THAT(failure("[]"), HasSubstr("must be a JSON object"));
  EXPECT_THROW(load_arguments({"service"}), std::runtime_error);
  EXPECT_THROW(load_arguments({"service", "--config"}), std::runtime_error);
  EXPECT_THROW(load_arguments({"service", "--config", "/nonexistent"}), std::runtime_error);
}

TEST_F(ConfigTest, ABrokenFileDoesNotLeakItsPassword) {
  EXPECT_THAT(failure(R"({"nats": {"password": "canary-42)"),
              AllOf(HasSubstr("not JSON"), Not(HasSubstr("canary"))));
}

TEST_F(ConfigTest, RefusesAFileThatOthersCanRead) {
  ASSERT_EQ(chmod(path_.c_str(), 0640), 0);
  EXPECT_THAT(failure(kWhole), HasSubstr("mode must be 0600"));
}

TEST(StopSignals, WaitReturnsWhenOneComes) {
  std::thread([] {
    block_stop_signals();
    pthread_kill(pthread_self(), SIGTERM);  // stays pending on this thread
    wait_for_stop_signal();
  }).join();
}

TEST(Random, UuidsAreCanonicalAndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string uuid = new_uuid();
    EXPECT_EQ(canonical_uuid(uuid), uuid);
    EXPECT_EQ(uuid[14], '4');
    seen.insert(uuid);
  }
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(Random, BytesAreAsManyAsAsked) {
  EXPECT_EQ(random_bytes(0).size(), 0u);
  EXPECT_EQ(random_bytes(1000).size(), 1000u);
  EXPECT_NE(random_bytes(32), random_bytes(32));
}

}  // namespace
}  // namespace trunkline::runtime
