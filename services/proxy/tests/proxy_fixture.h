// A proxy in this process before real PostgreSQL servers, with libpq as the client. The user `app`
// has the password `secret` on every server that add_node() makes.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "proxy/io/proxy_server.h"
#include "testing/temp_servers.h"

namespace trunkline::proxy {

inline constexpr char kInstance[] = "11111111-2222-4333-8444-555555555555";

struct CloseConnection {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Client = std::unique_ptr<PGconn, CloseConnection>;

class ProxyFixture : public ::testing::Test {
 protected:
  struct Node {
    std::string id;
    int port = 0;
    std::unique_ptr<trunkline::testing::TempPostgres> server;
  };

  // Every node has the same verifier, as standbys of one primary have.
  Node& add_node(std::vector<std::string> settings = {});
  // A route on which `nodes_[primary]` serves, and the others as standbys. The position grows by
  // itself.
  v1::Route route(v1::RouteState state, uint64_t term, size_t primary = 0);
  void start_proxy(ProxyOptions options = {});
  // Connects by the shared port; `extra` are more words of a conninfo.
  Client connect(const std::string& extra = {}) const;
  std::string conninfo(const std::string& extra = {}) const;

  static std::string value(const Client& client, const std::string& sql);  // "!sqlstate": an error
  static bool await(const std::function<bool()>& condition);

  const std::string verifier_ = scram_sha256_verifier("secret", "0123456789abcdef", 4096);
  std::vector<Node> nodes_;
  std::unique_ptr<ProxyServer> proxy_;
  uint64_t position_ = 0;
};

}  // namespace trunkline::proxy
