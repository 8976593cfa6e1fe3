// Two servers and what a switchover between them is to a proxy.
#pragma once

#include <string>
#include <vector>

#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {

class CarryFixture : public ProxyFixture {
 protected:
  void SetUp() override {
    add_node(guarded());
    add_node(guarded());
  }
  // A server as an agent starts it.
  static std::vector<std::string> guarded() {
    return {"shared_preload_libraries=" TRUNKLINE_GUARD};
  }
  void start(ProxyOptions options = {}) {
    start_proxy(std::move(options));
    open(1, 0);
  }
  void open(uint64_t term, size_t primary) {
    proxy_->endpoints().take(route(v1::ROUTE_STATE_OPEN, term, primary));
  }
  void hold(uint64_t term = 1, size_t primary = 0) {
    proxy_->endpoints().take(route(v1::ROUTE_STATE_HOLD, term, primary));
  }
  // Every session of the old primary has left it when this returns: all must be idle.
  void hold_until_it_is_empty() {
    hold();
    ASSERT_TRUE(await([&] { return sessions_at(0) == "0"; }));
  }
  void switch_over() {
    hold_until_it_is_empty();
    open(2, 1);
  }
  void on_both(const std::string& sql) {
    for (const auto& node : nodes_) node.server->execute("app", sql);
  }
  uint64_t carried() { return proxy_->context().carried.load(); }
  std::string port_of(size_t node) { return std::to_string(nodes_[node].port); }
  std::string at(size_t node, const std::string& sql) {
    const Client direct(PQconnectdb(nodes_[node].server->dsn("app").c_str()));
    return value(direct, sql);
  }
  std::string sessions_at(size_t node) {
    return at(node, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
  }
  static std::string port_seen(const Client& client) {
    return value(client, "SELECT current_setting('port')");
  }
  // What the client is told when it says something again.
  static std::string farewell(const Client& client) {
    PQclear(PQexec(client.get(), "SELECT 1"));
    return PQerrorMessage(client.get());
  }
};

}  // namespace trunkline::proxy
