#include <gtest/gtest.h>

#include "metering/io/webhook_address.h"

namespace trunkline::metering {
namespace {

TEST(Reachable, PublicAddressesOnly) {
  const std::pair<const char*, bool> rows[] = {
      {"8.8.8.8", true},          {"1.1.1.1", true},         {"127.0.0.1", false},
      {"127.255.255.255", false}, {"10.0.0.1", false},       {"172.16.0.1", false},
      {"172.32.0.1", true},       {"192.168.1.1", false},    {"169.254.169.254", false},
      {"100.64.0.1", false},      {"100.128.0.1", true},     {"0.0.0.0", false},
      {"224.0.0.1", false},       {"255.255.255.255", false}, {"198.18.0.1", false},
      {"2a00:1450::1", true},     {"::1", false},            {"::", false},
      {"fe80::1", false},         {"fc00::1", false},        {"ff02::1", false},
      {"2001:db8::1", false},     {"2002:7f00:1::", false},  {"64:ff9b::7f00:1", false},
      {"::ffff:127.0.0.1", false}, {"::ffff:8.8.8.8", true}, {"::127.0.0.1", false},
  };
  for (const auto& [text, expected] : rows) {
    const auto address = ip_from(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(may_reach(*address, {}), expected) << text;
  }
}

TEST(Reachable, WhatTheOperatorAllows) {
  const auto allowed = ip_ranges({"127.0.0.0/8", "10.1.2.3", "fd00::/8"});
  const std::pair<const char*, bool> rows[] = {
      {"127.0.0.1", true}, {"10.1.2.3", true},  {"10.1.2.4", false},
      {"::ffff:127.0.0.1", true}, {"fd12::1", true}, {"fc00::1", false},
      {"localhost", true}, {"[fd12::1]", true}, {"[::1]", false},
      {"8.8.8.8", true},   {"localhost.example", true}, {"example.com", true},
  };
  for (const auto& [host, expected] : rows) {
    EXPECT_EQ(may_reach_host(host, allowed), expected) << host;
  }
  EXPECT_FALSE(may_reach_host("localhost", {}));
  for (const char* bad : {"", "x", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0.0/8x", "a/8"}) {
    EXPECT_THROW(ip_ranges({bad}), std::runtime_error) << bad;
  }
  EXPECT_EQ(ip_text(*ip_from("127.0.0.1")), "127.0.0.1");
  EXPECT_EQ(ip_text(*ip_from("2a00:1450::1")), "2a00:1450::1");
}

}  // namespace
}  // namespace trunkline::metering
