// A real server whose users and databases are ordered as a test says; nothing stays from one test
// to the next.
#pragma once

#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/io/objects_apply.h"
#include "agent/tests/tenant_sql.h"
#include "agent/tests/test_host.h"
#include "base/digest.h"
#include "runtime/random.h"

namespace trunkline::agent::testing {

inline constexpr char kPassword[] = "secret-password-1";

// A tenant's session that stays.
class Client {
 public:
  Client(const TestNode& node, const std::string& user, const std::string& database)
      : connection_(PQconnectdb(("host=" + node.address.address() +
                                 " port=" + std::to_string(node.address.port()) + " user=" + user +
                                 " password='" + kPassword + "' dbname=" + database +
                                 " connect_timeout=5")
                                    .c_str())) {
    EXPECT_EQ(PQstatus(connection_), CONNECTION_OK) << PQerrorMessage(connection_);
  }
  ~Client() { PQfinish(connection_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  std::string run(const std::string& sql) {
    PGresult* result = PQexec(connection_, sql.c_str());
    const std::string error = PQresultErrorMessage(result);
    PQclear(result);
    return error;
  }
  bool alive() { return PQstatus(connection_) == CONNECTION_OK && run("select 1").empty(); }

 private:
  PGconn* connection_;
};

// One server for all, which no test leaves anything on.
struct Server {
  TestPlatform platform;
  TestHost host{platform, "host-a", "127.31.77.15"};
  TestNode node = make_node(host);
};

class ObjectTransfer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server;
    order_box(server_->host, server_->node);
    order_primary(server_->host, server_->node);
    ASSERT_TRUE(server_->host.await_node(server_->node.id, is_open));
    // Databases are made and dropped by the dozen; nothing here depends on the disk.
    query(server_->host, server_->node, "alter system set fsync = off");
    query(server_->host, server_->node, "select pg_reload_conf()");
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void TearDown() override {
    for (const auto& row : query(
             host_, node_, "select quote_ident(datname) from pg_database where oid >= 16384")) {
      query(host_, node_, "alter database " + *row.at(0) + " is_template false");
      query(host_, node_, "drop database " + *row.at(0) + " with (force)");
    }
    for (const auto& row : query(host_, node_,
                                 "select quote_ident(rolname) from pg_roles where oid >= 16384"
                                 " and rolname !~ '^trunkline_'")) {
      query(host_, node_, "drop role " + *row.at(0));
    }
    query(host_, node_, "truncate trunkline.managed");
  }

  ObjectsResult apply() {
    return apply_objects({host_.node(node_.id).socket_dir,
                          server_user(host_, node_), node_.address.port()},
                         spec_);
  }
  static std::string text(const ObjectsResult& result) {
    std::string out;
    for (const auto& f : result.failures) out += f.code + ": " + f.message + "; ";
    return out;
  }
  std::string add_user(const std::string& name) {
    spec_.users.push_back({runtime::new_uuid(), name,
                           scram_sha256_verifier(kPassword, "0123456789abcdef", 4096)});
    return spec_.users.back().id;
  }
  std::string add_database(const std::string& name, const std::string& owner) {
    spec_.databases.push_back({runtime::new_uuid(), name, owner, 0});
    return spec_.databases.back().id;
  }
  void remove_user(const std::string& id) {
    std::erase_if(spec_.users, [&](const auto& user) { return user.id == id; });
    spec_.dropped_user_ids.push_back(id);
  }
  void remove_database(const std::string& id) {
    std::erase_if(spec_.databases, [&](const auto& database) { return database.id == id; });
    spec_.dropped_database_ids.push_back(id);
  }
  std::string db(const std::string& sql, const std::string& database = "postgres") {
    return value(host_, node_, sql, database);
  }
  bool has_database(const std::string& name) {
    return db("select count(*) from pg_database where datname = '" + name + "'") == "1";
  }
  bool has_role(const std::string& name) {
    return db("select count(*) from pg_roles where rolname = '" + name + "'") == "1";
  }
  // Of any database; that of the platform has its own few things.
  std::string superusers() {
    std::string out;
    for (const auto& row : query(host_, node_,
                                 "select datname from pg_database where datname not in"
                                 " ('postgres', 'template0') and datallowconn")) {
      const std::string found = db(kSuperusers, *row.at(0));
      if (!found.empty()) out += *row.at(0) + ": " + found + "; ";
    }
    return out;
  }
  std::string left_to(const std::string& role, const std::string& database) {
    return db("select count(*) from pg_shdepend where refobjid = '" + role + "'::regrole",
              database);
  }

  static inline Server* server_ = nullptr;
  TestHost& host_ = server_->host;
  TestNode& node_ = server_->node;
  ObjectsSpec spec_;
};

}  // namespace trunkline::agent::testing
