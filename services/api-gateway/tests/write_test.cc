// Commands and their answers.
#include "api-gateway/tests/gateway_fixture.h"

namespace trunkline::gateway::testing {
namespace {

TEST_F(GatewayTest, CreateAnswersTheWholeObject) {
  accept_commands();
  uint64_t min_position = 0;
  peer_->on_query([&](const v1::Query& query) -> std::optional<v1::QueryAnswer> {
    v1::QueryAnswer answer;
    if (query.get_resource().kind() == v1::KIND_VERSION) {
      answer.add_json(R"({"image":"postgresql-15"})");
    } else {
      min_position = query.min_position();
      answer.add_json(instance_document(query.get_resource().uuid()).dump());
    }
    return answer;
  });
  const auto response = ask("POST", "/v1/types/postgres/instances/", "member", order());
  ASSERT_EQ(response.status, 201) << response.body;
  const std::string uuid = json::parse(response.body)["uuid"];
  EXPECT_EQ(response.headers.at("location"), "/v1/types/postgres/instances/" + uuid);
  EXPECT_EQ(min_position, 7u);
  const auto command = peer_->commands().at(0);
  EXPECT_EQ(command.aggregate_id(), uuid);
  EXPECT_EQ(command.actor(), "token:" + uuid_from_name("member" + std::string(kProject)));
  EXPECT_TRUE(telemetry::is_traceparent(command.traceparent()));
  const auto& create = command.instance().create_instance();
  EXPECT_EQ(create.project_id(), kProject);
  EXPECT_EQ(create.image(), "postgresql-15");
  EXPECT_EQ(create.version_id(), kVersion);
  EXPECT_EQ(create.size().ram_mb(), 1024u);
  EXPECT_EQ(create.sync_replica_number(), 1u);
}

TEST_F(GatewayTest, TheTraceOfTheCallerGoesOn) {
  accept_commands();
  const std::string parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  ask("POST", "/v1/postgres/instances", "member", order(), {{"traceparent", parent}});
  EXPECT_EQ(peer_->commands().at(0).traceparent().substr(0, 35), parent.substr(0, 35));
  ask("POST", "/v1/postgres/instances", "member", order(), {{"traceparent", "junk"}});
  EXPECT_TRUE(telemetry::is_traceparent(peer_->commands().at(1).traceparent()));
}

TEST_F(GatewayTest, RejectionsByBlame) {
  const std::pair<v1::Blame, int> rows[] = {{v1::BLAME_BAD_VALUE, 400},
                                            {v1::BLAME_UNSPECIFIED, 400},
                                            {v1::BLAME_FORBIDDEN, 403},
                                            {v1::BLAME_NOT_FOUND, 404},
                                            {v1::BLAME_CONFLICT, 409}};
  for (const auto& [blame, status] : rows) {
    peer_->on_command([blame = blame](const v1::Command& command) {
      return rejected(command, "some_rule", blame);
    });
    const auto response = ask("POST", "/v1/postgres/instances", "member", order());
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(type_of(response), "some_rule");
    EXPECT_EQ(json::parse(response.body)["code"], status);
  }
}

TEST_F(GatewayTest, ReferenceTruthTable) {
  accept_commands();
  const std::string missing = "99999999-9999-4999-8999-999999999999";
  const std::pair<json, int> rows[] = {
      {std::string("/v1/postgres/versions/") + kVersion, 202},
      {std::string("/v1/types/postgres/versions/") + kVersion, 202},
      {"/v1/types/postgres/versions/" + missing, 404},
      {kVersion, 404},
      {std::string("http://localhost/v1/types/postgres/versions/") + kVersion, 404},
      {"/v1/types/postgres/versions/15", 404},
      {"", 404},
      {15, 400},
      {nullptr, 400},
  };
  for (const auto& [version, status] : rows) {
    json body = order();
    body["version"] = version;
    EXPECT_EQ(ask("POST", "/v1/postgres/instances", "member", body).status, status) << version;
  }
  json body = order();
  body.erase("version");
  EXPECT_EQ(ask("POST", "/v1/postgres/instances", "member", body).status, 400);
}

TEST_F(GatewayTest, ProjectTruthTable) {
  accept_commands();
  json body = order();
  EXPECT_EQ(ask("POST", "/v1/postgres/instances", "admin", body).status, 202);
  EXPECT_EQ(peer_->commands().back().instance().create_instance().project_id(),
            "00000000-0000-0000-0000-000000000000");
  body["project_id"] = kOther;
  EXPECT_EQ(ask("POST", "/v1/postgres/instances", "member", body).status, 403);
  EXPECT_EQ(ask("POST", "/v1/postgres/instances", "admin", body).status, 202);
  EXPECT_EQ(peer_->commands().back().instance().create_instance().project_id(), kOther);
  body["project_id"] = kProject;
  EXPECT_EQ(ask("POST", "/v1/postgres/instances", "member", body).status, 202);
  EXPECT_EQ(ask("POST", "/v1/postgres/instances", "reader", body).status, 403);
}

TEST_F(GatewayTest, AWriteThatSucceededIsNeverAFailure) {
  accept_commands();  // the peer does not show what was created
  const auto response = ask("POST", "/v1/postgres/instances", "member", order());
  EXPECT_EQ(response.status, 202);
  const std::string id = peer_->commands().at(0).command_id();
  EXPECT_EQ(response.headers.at("location"), "/v1/operations/" + id);
  EXPECT_EQ(json::parse(response.body)["status"], "SUCCEEDED");
}

TEST_F(GatewayTest, AnUnansweredCommandIsSentAgainUntilItIs) {
  const auto response = ask("POST", "/v1/postgres/instances", "member", order());
  ASSERT_EQ(response.status, 202);
  const std::string id = peer_->commands().at(0).command_id();
  EXPECT_EQ(response.headers.at("location"), "/v1/operations/" + id);
  const auto operation = ask("GET", "/v1/operations/" + id, "member");
  EXPECT_EQ(json::parse(operation.body)["status"], "PENDING");
  peer_->on_command([](const v1::Command& command) { return accepted(command, 9); });
  ASSERT_TRUE(peer_->await_commands(2));
  EXPECT_EQ(peer_->commands().at(1).SerializeAsString(),
            peer_->commands().at(0).SerializeAsString());
  int status = 200;
  for (int i = 0; i < 1000 && status == 200; ++i) {
    status = ask("GET", "/v1/operations/" + id, "member").status;
  }
  EXPECT_EQ(status, 404) << "answered: the gateway knows nothing of it any more";
}

TEST_F(GatewayTest, AnUnavailableLogIs503) {
  peer_->on_command([](const v1::Command& command) {
    v1::CommandAnswer answer;
    answer.set_command_id(command.command_id());
    answer.mutable_unavailable()->set_why("secret reason");
    return answer;
  });
  const auto response = ask("POST", "/v1/postgres/instances", "member", order());
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body.find("secret"), std::string::npos);
}

TEST_F(GatewayTest, AWorkQueueThatIsGoneIsMadeAgain) {
  accept_commands();
  bus_->jetstream_api("STREAM.DELETE.TL_CMD", "");
  std::thread owner([&] {
    // What the owning service does when it finds its consumer gone.
    for (int i = 0; i < 300; ++i) {
      const auto info = bus_->jetstream_api("STREAM.INFO.TL_CMD", "");
      if (info.find("\"config\"") != std::string::npos) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    bus::ensure_command_consumer(peer_->bus(), "provisioner");
  });
  const auto response = ask("POST", "/v1/postgres/instances", "member", order());
  owner.join();
  EXPECT_EQ(response.status, 202) << response.body;
  EXPECT_EQ(json::parse(response.body)["status"], "SUCCEEDED");
}

TEST_F(GatewayTest, IdempotencyKey) {
  accept_commands();
  const std::map<std::string, std::string> key{{"Idempotency-Key", "k1"}};
  const auto id_of = [&](const std::string& path, const std::string& token,
                         const std::map<std::string, std::string>& headers) {
    ask("POST", path, token, order(), headers);
    const auto command = peer_->commands().back();
    return std::pair(command.command_id(), command.aggregate_id());
  };
  const auto first = id_of("/v1/postgres/instances", "member", key);
  EXPECT_EQ(id_of("/v1/postgres/instances", "member", key), first);
  EXPECT_EQ(id_of("/v1/types/postgres/instances/", "member", key), first);
  EXPECT_NE(id_of("/v1/postgres/instances", "member", {{"Idempotency-Key", "k2"}}), first);
  EXPECT_NE(id_of("/v1/postgres/instances", "admin", key), first);
  EXPECT_NE(id_of("/v1/postgres/instances", "member", {}), first);
  for (const std::string& bad : {std::string(), std::string(256, 'x'), std::string("\xc3\xa9")}) {
    EXPECT_EQ(ask("POST", "/v1/postgres/instances", "member", order(),
                  {{"Idempotency-Key", bad}}).status, 400);
  }
}

TEST_F(GatewayTest, ARepeatedDeleteWithAKeyIsDoneToo) {
  accept_commands();
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  const std::map<std::string, std::string> key{{"Idempotency-Key", "d"}};
  EXPECT_EQ(ask("DELETE", path, "member", nullptr, key).status, 204);
  const std::string id = peer_->commands().back().command_id();
  peer_->remove(v1::KIND_INSTANCE, kInstance);
  EXPECT_EQ(ask("DELETE", path, "member", nullptr, key).status, 404);
  peer_->put(v1::KIND_OPERATION, id, R"({"status":"SUCCEEDED"})");
  EXPECT_EQ(ask("DELETE", path, "member", nullptr, key).status, 204);
  EXPECT_EQ(ask("DELETE", path, "member").status, 404);
}

TEST_F(GatewayTest, ThePasswordBecomesAVerifierAndGoesNoFurther) {
  accept_commands();
  const std::string path = std::string("/v1/postgres/instances/") + kInstance + "/users";
  const json body{{"name", "ann"}, {"password", "canary-password"}};
  ask("POST", path, "member", body);
  const auto command = peer_->commands().back();
  EXPECT_TRUE(is_scram_sha256_verifier(command.instance().create_user().scram_verifier()));
  EXPECT_EQ(command.SerializeAsString().find("canary"), std::string::npos);
  EXPECT_EQ(command.aggregate_id(), kInstance);
  ask("POST", path, "member", body);
  EXPECT_NE(peer_->commands().back().instance().create_user().scram_verifier(),
            command.instance().create_user().scram_verifier()) << "a salt of its own each time";
  const std::map<std::string, std::string> key{{"Idempotency-Key", "u"}};
  ask("POST", path, "member", body, key);
  const auto once = peer_->commands().back();
  ask("POST", path, "member", body, key);
  EXPECT_EQ(peer_->commands().back().instance().SerializeAsString(),
            once.instance().SerializeAsString()) << "the same request makes the same command";
}

TEST_F(GatewayTest, ATokenIsShownOnceAndSentAsItsHash) {
  accept_commands();
  const auto response = ask("POST", "/v1/tokens", "admin",
                            json{{"name", "ci"}, {"role", "member"}, {"project_id", kProject}});
  EXPECT_EQ(response.status, 202);
  const std::string secret = json::parse(response.body)["token"];
  EXPECT_TRUE(secret.starts_with("tl_"));
  EXPECT_EQ(secret.size(), 46u);
  const auto command = peer_->commands().back();
  EXPECT_EQ(command.token().create_token().sha256(), hex(sha256(secret)));
  EXPECT_EQ(command.SerializeAsString().find(secret), std::string::npos);
}

TEST_F(GatewayTest, ATokenThatIsAskedForAgainWithItsKeyIsTheSame) {
  accept_commands();
  const json body{{"name", "ci"}, {"role", "member"}, {"project_id", kProject}};
  const auto secret = [&](const char* key) {
    const auto response = ask("POST", "/v1/tokens", "admin", body, {{"Idempotency-Key", key}});
    EXPECT_EQ(response.status, 202);
    return json::parse(response.body)["token"].get<std::string>();
  };
  const std::string first = secret("k1");
  const auto command = peer_->commands().back();
  EXPECT_EQ(secret("k1"), first);
  EXPECT_EQ(peer_->commands().back().token().SerializeAsString(),
            command.token().SerializeAsString());
  EXPECT_NE(secret("k2"), first);
  // Without the platform's secret nothing is made.
  restart_gateway([](GatewayOptions& options) { options.webhook_master.clear(); });
  const size_t before = peer_->commands().size();
  const auto refused = ask("POST", "/v1/tokens", "admin", body, {{"Idempotency-Key", "k1"}});
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(type_of(refused), "idempotency_key_not_supported");
  EXPECT_EQ(peer_->commands().size(), before);
}

// Another project's id and one's own are answered alike.
TEST_F(GatewayTest, AUuidThatIsInUseIsRefusedWhoeverHasIt) {
  peer_->on_command([](const v1::Command& command) {
    return rejected(command, "uuid_in_use", v1::BLAME_CONFLICT);
  });
  json body = order();
  body["uuid"] = kInstance;
  const auto own = ask("POST", "/v1/postgres/instances", "member", body);
  const auto foreign = ask("POST", "/v1/postgres/instances", "stranger", body);
  EXPECT_EQ(own.status, 409);
  EXPECT_EQ(foreign.status, 409);
  EXPECT_EQ(own.body, foreign.body);
}

// An operation under way is its project's.
TEST_F(GatewayTest, AnOperationUnderWayIsNotAnotherProjects) {
  peer_->on_command([](const v1::Command&) { return std::nullopt; });
  const auto response = ask("POST", "/v1/postgres/instances", "member", order());
  ASSERT_EQ(response.status, 202);
  const std::string path = response.headers.at("location");
  EXPECT_EQ(ask("GET", path, "reader").status, 200);
  EXPECT_EQ(ask("GET", path, "admin").status, 200);
  EXPECT_EQ(ask("GET", path, "stranger").status, 404);
}

TEST_F(GatewayTest, RefusalsAreCountedForTheAuditLog) {
  accept_commands();
  restart_gateway([](GatewayOptions& options) {
    options.refusal_window = std::chrono::milliseconds(300);
  });
  for (int i = 0; i < 3; ++i) {
    ask("GET", std::string("/v1/postgres/instances/") + kUser, "member");  // 404
  }
  ask("GET", "/v1/tokens", "member");                                      // 403
  ask("GET", "/v1/postgres/instances", "nobody");                          // 401
  const std::string member = "token:" + uuid_from_name(std::string("member") + kProject);
  const std::map<std::string, uint64_t> expected{
      {member + " 404", 3}, {member + " 403", 1}, {"unknown 401", 1}};
  std::map<std::string, uint64_t> seen;
  for (size_t count = 1; seen != expected && peer_->await_commands(count); ++count) {
    seen.clear();
    for (const auto& command : peer_->commands()) {
      for (const auto& refusal : command.token().record_refusals().refusals()) {
        seen[command.actor() + " " + std::to_string(refusal.status())] += refusal.count();
      }
    }
  }
  EXPECT_EQ(seen, expected);
}

TEST_F(GatewayTest, AQuotaIsOfAProjectAndAdministratorsSetIt) {
  accept_commands();
  const json body = {{"uuid", kProject}, {"instances", 3}, {"ram", 4096}};
  EXPECT_EQ(ask("POST", "/v1/quotas", "member", body).status, 403);
  EXPECT_EQ(ask("POST", "/v1/quotas", "admin", json{{"instances", 3}}).status, 400);
  EXPECT_EQ(ask("POST", "/v1/quotas", "admin", json{{"uuid", kProject}, {"cpu", -1}}).status, 400);
  EXPECT_EQ(peer_->commands().size(), 0u);
  EXPECT_EQ(ask("POST", "/v1/quotas", "admin", body).status, 202);
  const auto command = peer_->commands().back();
  EXPECT_EQ(command.aggregate_id(), kProject);
  const auto& create = command.quota().create_quota();
  EXPECT_EQ(create.instances(), 3u);
  EXPECT_EQ(create.ram_mb(), 4096u);
  EXPECT_EQ(create.cpu(), 1'000'000u) << "what is not said is no bound";
  EXPECT_EQ(ask("PUT", std::string("/v1/quotas/") + kProject, "member", body).status, 403);
  EXPECT_EQ(ask("DELETE", std::string("/v1/quotas/") + kProject, "member").status, 403);
}

TEST_F(GatewayTest, PutTruthTable) {
  accept_commands();
  struct Row {
    json body;
    int status;
    const char* type;
  };
  const json now = instance_document();
  const Row rows[] = {
      {json::object(), 200, ""},
      {{{"name", "two"}}, 200, ""},
      {{{"uuid", kInstance}}, 200, ""},
      {{{"uuid", kUser}}, 400, "uuid_mismatch"},
      {{{"version", now["version"]}, {"created_at", now["created_at"]}}, 200, ""},
      {{{"version", std::string("/v1/postgres/versions/") + kVersion}}, 200, ""},
      {{{"version", std::string("/v1/postgres/versions/") + kUser}}, 400, "read_only"},
      {{{"created_at", "2020-01-01T00:00:00Z"}}, 400, "read_only"},
      {{{"status", "ACTIVE"}}, 403, "read_only"},
      {{{"ipsv4", json::array()}}, 403, "read_only"},
      {{{"project_id", kOther}}, 403, "forbidden"},
      {{{"project_id", kProject}}, 200, ""},
      {{{"disk_size", 9}}, 400, "disk_must_not_shrink"},
      {{{"disk_size", 11}}, 200, ""},
      {{{"nodes_number", 1}}, 400, "sync_replica_number_too_big"},
      {{{"nodes_number", 1}, {"sync_replica_number", 0}}, 200, ""},
      {{{"sync_replica_number", 3}}, 400, "sync_replica_number_too_big"},
      {{{"cpu", 129}}, 400, "cpu_out_of_range"},
      {{{"nothing", 1}}, 400, "unknown_field"},
  };
  for (const Row& row : rows) {
    const auto response =
        ask("PUT", std::string("/v1/postgres/instances/") + kInstance, "member", row.body);
    EXPECT_EQ(response.status, row.status) << row.body << response.body;
    if (row.status != 200) {
      EXPECT_EQ(type_of(response), row.type) << row.body;
    }
  }
}

TEST_F(GatewayTest, AnOwnerOfAnotherInstanceIsRefused) {
  accept_commands();
  const std::string other = "66666666-6666-4666-8666-666666666666";
  peer_->put(v1::KIND_USER, kUser, "{}", kProject);
  const auto create = [&](const std::string& owner) {
    return ask("POST", std::string("/v1/postgres/instances/") + kInstance + "/databases", "member",
               json{{"name", "db"}, {"owner", owner}});
  };
  const std::string users = std::string("/v1/types/postgres/instances/");
  EXPECT_EQ(create(users + kInstance + "/users/" + kUser).status, 202);
  EXPECT_EQ(peer_->commands().back().instance().create_database().owner_id(), kUser);
  EXPECT_EQ(type_of(create(users + other + "/users/" + kUser)), "owner_of_another_instance");
  EXPECT_EQ(create(users + kInstance + "/users/" + other).status, 404);
  EXPECT_EQ(create(kUser).status, 404);
}

}  // namespace
}  // namespace trunkline::gateway::testing
