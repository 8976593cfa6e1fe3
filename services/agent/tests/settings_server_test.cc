// What a real server makes of the files that it is given.
#include <gtest/gtest.h>

#include "agent/tests/test_host.h"

namespace trunkline::agent::testing {
namespace {

class SettingsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    order_box(host_, node_);
    order_primary(host_, node_);
    ASSERT_TRUE(host_.await_node(node_.id, is_open));
  }
  std::string db(const std::string& sql) { return value(host_, node_, sql); }

  TestPlatform platform_;
  TestHost host_{platform_, "host-a", "127.31.77.24"};
  TestNode node_ = make_node(host_);
};

TEST_F(SettingsServerTest, TakesEveryLineOfItsFiles) {
  EXPECT_EQ(db("select coalesce(string_agg(name || ': ' || error, '; '), '') from pg_file_settings"
               " where error is not null"),
            "");
  // initdb's own file stands before ours: only the last line of a name applies.
  EXPECT_EQ(db("select coalesce(string_agg(distinct f.name, ' '), '') from pg_file_settings f"
               " where not exists (select from pg_file_settings g where g.name = f.name"
               " and g.applied)"),
            "");
  EXPECT_EQ(db("select coalesce(string_agg(name, ' '), '') from pg_settings where pending_restart"),
            "");
  EXPECT_EQ(db("select coalesce(string_agg(error, '; '), '') from pg_hba_file_rules"
               " where error is not null"),
            "");
  EXPECT_EQ(db("select coalesce(string_agg(error, '; '), '') from pg_ident_file_mappings"
               " where error is not null"),
            "");
}

// A client's session could override what is only a default; these it cannot.
TEST_F(SettingsServerTest, WhatGuardsTheHostIsOutOfATenantsReach) {
  query(host_, node_, "create role tenant login");
  using Setting = std::pair<const char*, const char*>;
  for (const auto& [name, value] :
       {Setting{"synchronous_standby_names", "''"}, Setting{"log_statement", "'none'"},
        Setting{"log_min_error_statement", "'panic'"}, Setting{"max_slot_wal_keep_size", "1"},
        Setting{"superuser_reserved_connections", "0"}, Setting{"restart_after_crash", "off"},
        Setting{"wal_log_hints", "off"}, Setting{"primary_conninfo", "''"}}) {
    const std::string set = "set " + std::string(name) + " = " + value;
    for (const std::string& setting : {set, "alter role tenant " + set}) {
      EXPECT_THROW(query(host_, node_, "set role tenant; " + setting), PgError) << setting;
    }
  }
}

}  // namespace
}  // namespace trunkline::agent::testing
