#include "api-gateway/domain/origin.h"

#include <gtest/gtest.h>

namespace trunkline::gateway {
namespace {

HttpRequest from(const std::string& peer, std::vector<std::string> forwarded) {
  HttpRequest request;
  request.peer = peer;
  for (auto& value : forwarded) request.headers.emplace_back("x-forwarded-for", std::move(value));
  return request;
}

TEST(Origin, OnlyATrustedPeerSaysWhereAClientIs) {
  const std::vector<std::string> trusted = {"10.0.0.1", "10.0.0.2"};
  struct Case {
    std::string peer;
    std::vector<std::string> forwarded;
    std::string address;
  };
  const Case cases[] = {
      {"192.0.2.7", {}, "192.0.2.7"},
      {"192.0.2.7", {"198.51.100.1"}, "192.0.2.7"},
      {"10.0.0.1", {}, "10.0.0.1"},
      {"10.0.0.1", {"198.51.100.1"}, "198.51.100.1"},
      {"10.0.0.1", {"2001:db8::1"}, "2001:db8::1"},
      {"10.0.0.1", {"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
      {"10.0.0.1", {"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
      {"10.0.0.1", {"198.51.100.1 , 10.0.0.2"}, "198.51.100.1"},
      {"10.0.0.1", {"10.0.0.2"}, "10.0.0.2"},
      {"10.0.0.1", {"198.51.100.1, <script>"}, "10.0.0.1"},
      {"10.0.0.1", {"198.51.100.1,"}, "10.0.0.1"},
      {"10.0.0.1", {std::string(46, '1')}, "10.0.0.1"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(client_address(from(c.peer, c.forwarded), trusted), c.address)
        << c.peer << " " << (c.forwarded.empty() ? "" : c.forwarded[0]);
    EXPECT_EQ(client_address(from(c.peer, c.forwarded), {}), c.peer);
  }
}

TEST(Origin, TheProjectIsThatOfWhatTheCommandIsAbout) {
  Caller admin;
  admin.role = CallerRole::admin;
  Caller member;
  member.role = CallerRole::member;
  member.project_id = "own";
  v1::Command change;
  change.mutable_instance()->mutable_delete_instance();
  v1::Command create;
  create.mutable_instance()->mutable_create_instance()->set_project_id("named");
  const json version = {{"uuid", "v"}}, instance = {{"uuid", "i"}, {"project_id", "its"}};
  const auto project = [](const Caller& caller, const v1::Command& command,
                          const std::vector<json>& found) {
    return origin_of(caller, {}, {}, command, found).project_id();
  };
  EXPECT_EQ(project(admin, change, {instance}), "its");
  EXPECT_EQ(project(member, change, {instance}), "its");
  EXPECT_EQ(project(admin, create, {version}), "named");
  EXPECT_EQ(project(member, create, {version}), "named");
  EXPECT_EQ(project(admin, change, {version}), "");
  EXPECT_EQ(project(member, change, {json()}), "own");
}

TEST(Origin, WhatAClientCallsItselfIsCutAndPrintable) {
  HttpRequest request = from("192.0.2.7", {});
  request.headers.emplace_back("user-agent", "a\x1b\xff\t" + std::string(999, 'x'));
  Caller reader;
  const v1::Origin origin = origin_of(reader, request, {}, {}, {});
  EXPECT_EQ(origin.user_agent(), "a???" + std::string(252, 'x'));
  EXPECT_EQ(origin.role(), "reader");
  EXPECT_EQ(origin.client_address(), "192.0.2.7");
}

}  // namespace
}  // namespace trunkline::gateway
