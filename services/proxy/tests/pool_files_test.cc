#include "proxy/domain/pool_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"

namespace trunkline::proxy {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kVerifier = scram_sha256_verifier("secret", "0123456789abcdef", 4096);

TEST(PoolFiles, some_connections_are_left_for_direct_sessions) {
  for (const uint32_t connections : {1u, 2u, 5u, 50u, 51u, 5000u}) {
    const PoolLimits limits = pool_limits(connections);
    EXPECT_GE(limits.servers, 1u);
    EXPECT_LE(limits.servers, connections);
    EXPECT_GE(limits.servers_each, 1u);
    EXPECT_LE(limits.servers_each, limits.servers);
    EXPECT_GE(limits.clients, 200u);
    EXPECT_EQ(limits.servers < connections, connections >= 4);
  }
  EXPECT_EQ(pool_limits(50).servers_each, 25u);
  EXPECT_EQ(pool_limits(0).servers, pool_limits(100).servers);
}

TEST(PoolFiles, the_configuration_leads_through_the_proxy_and_lets_nobody_administrate) {
  const std::string text = pool_config("/run/pools/x", {500, 30, 20});
  EXPECT_THAT(text, HasSubstr("\n* = host='/run/pools/x' port=5432\n"));
  EXPECT_THAT(text, HasSubstr("\nunix_socket_dir = /run/pools/x\n"));
  EXPECT_THAT(text, HasSubstr("\npool_mode = transaction\n"));
  EXPECT_THAT(text, HasSubstr("\nauth_type = scram-sha-256\n"));
  EXPECT_THAT(text, HasSubstr("\nadmin_users =\nstats_users =\n"));
  EXPECT_THAT(text, HasSubstr("\ndefault_pool_size = 20\n"));
  EXPECT_THAT(text, HasSubstr("\nmax_db_connections = 30\n"));
  EXPECT_THAT(text, HasSubstr("\nmax_user_connections = 30\n"));
  EXPECT_THAT(text, Not(HasSubstr("listen_addr")));
}

TEST(PoolFiles, users_are_quoted_and_what_cannot_be_held_is_left_out) {
  EXPECT_EQ(pool_users({{"app", kVerifier}, {"o\"brien", kVerifier}}),
            "\"app\" \"" + kVerifier + "\"\n\"o\"\"brien\" \"" + kVerifier + "\"\n");
  EXPECT_EQ(pool_users({{"plain", "a password"}, {"two\nlines", kVerifier}, {"", kVerifier},
                        {std::string(64, 'x'), kVerifier}}),
            "");
}

TEST(PoolFiles, one_death_costs_nothing_and_many_cost_more_and_more) {
  EXPECT_EQ(pool_restart_pause(1).count(), 0);
  for (unsigned deaths = 2; deaths < 8; ++deaths) {
    EXPECT_GT(pool_restart_pause(deaths), pool_restart_pause(deaths - 1));
  }
  EXPECT_EQ(pool_restart_pause(1000), std::chrono::seconds(10));
}

TEST(PoolFiles, complaints_are_told_from_news) {
  EXPECT_TRUE(is_pool_complaint("2026-01-01 00:00:00.000 UTC [1] WARNING dns is away"));
  EXPECT_TRUE(is_pool_complaint("2026-01-01 00:00:00.000 UTC [1] FATAL cannot load"));
  EXPECT_FALSE(is_pool_complaint("2026-01-01 00:00:00.000 UTC [1] LOG process up"));
}

TEST(PoolFiles, what_a_client_leaves_in_a_session_is_not_the_next_ones) {
  const std::string text = pool_config("/p", {500, 30, 20});
  EXPECT_THAT(text, HasSubstr("\nserver_reset_query_always = 1\n"));
  const std::string reset = pool_reset();
  EXPECT_THAT(text, HasSubstr("\nserver_reset_query = " +
                              reset.substr(kHeader, reset.size() - kHeader - 1) + "\n"));
}

TEST(PoolFiles, a_start_up_parameter_is_honoured_or_refused) {
  const auto refused = [](const std::string& name, const std::string& value) {
    return pool_startup({{"user", "app"}, {name, value}}).refusal;
  };
  EXPECT_EQ(pool_startup({{"user", "app"}, {"database", "shop"}, {"TimeZone", "UTC"},
                          {"extra_float_digits", "2"}}).packet,
            startup_packet({{"user", "app"}, {"database", "shop"}, {"timezone", "UTC"}}));
  for (const char* name : {"client_encoding", "DateStyle", "TimeZone", "application_name",
                           "standard_conforming_strings"}) {
    EXPECT_EQ(refused(name, "x").sqlstate, "") << name;
  }
  EXPECT_EQ(refused("options", "-c search_path=a").sqlstate, "0A000");
  EXPECT_THAT(refused("options", "-c search_path=a").text, HasSubstr("search_path=a"));
  EXPECT_THAT(refused("statement_timeout", "1").text, HasSubstr("statement_timeout"));
  EXPECT_EQ(refused("extra_float_digits", "-3").sqlstate, "0A000");
  EXPECT_EQ(refused("extra_float_digits", "0").sqlstate, "0A000");
  EXPECT_EQ(refused("TimeZone", std::string(5000, 'x')).sqlstate, "22023");
  // A long name is cut, as by the server.
  EXPECT_LT(pool_startup({{"application_name", std::string(9000, 'x')}}).packet.size(), 200u);
}

}  // namespace
}  // namespace trunkline::proxy
