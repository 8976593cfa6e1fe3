// Given events of the log, these are the documents.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lookup/domain/fields.h"
#include "lookup/domain/history.h"
#include "lookup/domain/json_writer.h"
#include "lookup/domain/operation.h"
#include "lookup/domain/project.h"
#include "lookup/tests/given.h"

namespace trunkline::lookup {
namespace {

using namespace testing;
using nlohmann::json;

TEST(Documents, NewInstanceIsExactlyAsRestShowsIt) {
  Given given;
  given.with(created("shop"));
  EXPECT_EQ(given.text(), R"({"uuid":")" + kInstance +
                              R"(","name":"shop","description":"","project_id":")" + kProject +
                              R"(","created_at":"2026-01-15T10:30:01.000000Z")"
                              R"(,"updated_at":"2026-01-15T10:30:01.000000Z","status":"NEW")"
                              R"(,"cpu":2,"ram":1024,"disk_size":10,"nodes_number":2)"
                              R"(,"sync_replica_number":1,"version":)"
                              R"("/v1/types/postgres/versions/)" +
                              kVersionId + R"(","ipsv4":[],"term":0,"nodes":[]})");
}

TEST(Documents, RunningPairIsExactlyAsRestShowsIt) {
  const json expected = json::parse(R"({
    "uuid": ")" + kInstance + R"(", "name": "shop", "description": "", "project_id": ")" +
                                    kProject + R"(",
    "created_at": "2026-01-15T10:30:01.000000Z", "updated_at": "2026-01-15T10:30:08.000000Z",
    "status": "ACTIVE", "cpu": 2, "ram": 1024, "disk_size": 10, "nodes_number": 2,
    "sync_replica_number": 1, "version": "/v1/types/postgres/versions/)" + kVersionId + R"(",
    "ipsv4": ["127.0.0.11", "127.0.0.12"],
    "endpoints": {
      "read_write": {"host": "127.0.0.11", "port": 5432, "uri": "postgresql://127.0.0.11:5432/"},
      "read_only": {"host": "127.0.0.12", "port": 5432, "uri": "postgresql://127.0.0.12:5432/"}},
    "term": 1, "writes": {"possible": true},
    "nodes": [
      {"uuid": ")" + id("a") + R"(", "role": "primary", "status": "ACTIVE", "host": "host-a",
       "zone": "zone-host-a", "address": "127.0.0.11", "port": 5432},
      {"uuid": ")" + id("b") + R"(", "role": "standby", "status": "ACTIVE", "host": "host-b",
       "zone": "zone-host-b", "address": "127.0.0.12", "port": 5432}]})");
  EXPECT_EQ(running_pair().document(), expected);
}

TEST(Documents, SayWhetherClientsCanWrite) {
  Given given = running_pair();
  v1::InstanceEvent event;
  event.mutable_writes_stopped()->set_why("disk_full");
  given.with(event);
  EXPECT_EQ(given.document().at("status"), "ACTIVE");
  const json stopped = given.document().at("writes");
  EXPECT_EQ(stopped.at("possible"), false);
  EXPECT_EQ(stopped.at("why"), "disk_full");
  EXPECT_EQ(stopped.at("since"), given.document().at("updated_at"));
  event.mutable_writes_resumed();
  given.with(event);
  EXPECT_EQ(given.document().at("writes"), (json{{"possible", true}}));
}

// Each row is the row before it, or another one, with one more event.
TEST(Status, OfTheInstanceFollowsItsEvents) {
  struct Row {
    const char* when;
    std::vector<v1::InstanceEvent> events;
    const char* status;
    bool has_error;
  };
  const auto node = placed("a", "host-a", "127.0.0.11");
  const Row rows[] = {
      {"created", {created("shop")}, "NEW", false},
      {"renamed before any node", {created("shop"), renamed("x")}, "NEW", false},
      {"resized before any node", {created("shop"), resized(4)}, "NEW", false},
      {"scaled before any node", {created("shop"), scaled(3, 1)}, "NEW", false},
      {"first node placed", {created("shop"), node}, "IN_PROGRESS", false},
      {"no host fits", {created("shop"), failed("no_capacity")}, "ERROR", true},
      {"retried", {created("shop"), failed("no_capacity"), retried()}, "IN_PROGRESS", false},
      {"a node placed while in error",
       {created("shop"), node, failed("x"), placed("b", "host-b", "127.0.0.12")}, "ERROR", true},
      {"activated", {created("shop"), node, activated()}, "ACTIVE", false},
      {"renamed", {created("shop"), node, activated(), renamed("x")}, "ACTIVE", false},
      {"resized", {created("shop"), node, activated(), resized(4)}, "IN_PROGRESS", false},
      {"resized and done", {created("shop"), node, activated(), resized(4), activated()}, "ACTIVE",
       false},
      {"scaled", {created("shop"), node, activated(), scaled(3, 1)}, "IN_PROGRESS", false},
      {"another node placed",
       {created("shop"), node, activated(), placed("b", "host-b", "127.0.0.12")}, "IN_PROGRESS",
       false},
      {"a node removed from it",
       {created("shop"), node, activated(), removal_started("a")}, "IN_PROGRESS", false},
      {"failed later", {created("shop"), node, activated(), failed("deadline_missed")}, "ERROR",
       true},
      {"resized in error", {created("shop"), node, failed("x"), resized(4)}, "IN_PROGRESS", false},
      {"user made", {created("shop"), node, activated(), user_created("ann")}, "ACTIVE", false},
  };
  for (const Row& row : rows) {
    Given given;
    for (const auto& event : row.events) given.with(event);
    const json document = given.document();
    EXPECT_EQ(document.at("status"), row.status) << row.when;
    EXPECT_EQ(document.contains("error"), row.has_error) << row.when;
  }
}

TEST(Status, OfANodeFollowsTheGroup) {
  const auto status_of = [](const Given& given, size_t node) {
    return given.document().at("nodes").at(node).at("status").get<std::string>();
  };
  Given given;
  given.with(created("shop")).with(placed("a", "host-a", "127.0.0.11"));
  EXPECT_EQ(status_of(given, 0), "NEW");
  EXPECT_FALSE(given.document()["nodes"][0].contains("role"));
  given.with(primary_assigned("a", 1));
  EXPECT_EQ(status_of(given, 0), "IN_PROGRESS");
  EXPECT_EQ(given.document()["nodes"][0]["role"], "primary");
  given.with(primary_opened("a", 1));
  EXPECT_EQ(status_of(given, 0), "ACTIVE");
  given.with(placed("b", "host-b", "127.0.0.12")).with(standby_assigned("b"));
  EXPECT_EQ(status_of(given, 1), "IN_PROGRESS");
  given.with(standby_streaming("b"));
  EXPECT_EQ(status_of(given, 1), "ACTIVE");
  given.with(standby_lost("b"));
  EXPECT_EQ(status_of(given, 1), "IN_PROGRESS");
  given.with(failed("base_backup_failed", "b"));
  EXPECT_EQ(status_of(given, 1), "ERROR");
  EXPECT_EQ(status_of(given, 0), "ACTIVE");
  given.with(retried());
  EXPECT_EQ(status_of(given, 1), "IN_PROGRESS");
}

TEST(Endpoints, ReadOnlyFallsBackToThePrimary) {
  Given given = running_pair();
  given.with(standby_lost("b"));
  const json endpoints = given.document().at("endpoints");
  EXPECT_EQ(endpoints.at("read_only"), endpoints.at("read_write"));
  EXPECT_EQ(given.document().at("ipsv4"), json::array({"127.0.0.11"}));
}

TEST(Endpoints, FollowANewPrimary) {
  Given given = running_pair();
  given.with(primary_assigned("b", 2));
  EXPECT_FALSE(given.document().contains("endpoints"));
  EXPECT_FALSE(given.document()["nodes"][0].contains("role"));
  given.with(primary_opened("b", 2)).with(standby_assigned("a")).with(standby_streaming("a"));
  EXPECT_EQ(given.document()["endpoints"]["read_write"]["host"], "127.0.0.12");
  EXPECT_EQ(given.document()["endpoints"]["read_only"]["host"], "127.0.0.11");
}

TEST(Documents, UserAndDatabaseShowNoPassword) {
  Given given = running_pair();
  given.with(user_created("ann")).with(database_created("orders", "ann"));
  const DocKey user{DocKind::user, id("user ann"), kInstance};
  const DocKey database{DocKind::database, id("database orders"), kInstance};
  const std::string uri = "/v1/types/postgres/instances/" + kInstance;
  EXPECT_EQ(given.document(user), (json{{"uuid", id("user ann")},
                                        {"name", "ann"},
                                        {"description", ""},
                                        {"project_id", kProject},
                                        {"instance", uri},
                                        {"status", "NEW"},
                                        {"created_at", "2026-01-15T10:30:09.000000Z"},
                                        {"updated_at", "2026-01-15T10:30:09.000000Z"}}));
  EXPECT_EQ(given.document(database).at("owner"), uri + "/users/" + id("user ann"));
  given.with(user_activated("ann"));
  EXPECT_EQ(given.document(user).at("status"), "ACTIVE");
  given.with(user_deleted("ann"));
  EXPECT_TRUE(given.document(user).is_null());
}

TEST(Documents, AllOfAnInstanceIsGoneOnceItsDeletionStarts) {
  Given given = running_pair();
  given.with(user_created("ann")).with(database_created("orders", "ann"));
  given.touched.clear();
  given.with(deletion_started());
  EXPECT_TRUE(document_keys(given.view).empty());
  for (const DocKey& key : {kInstanceKey, DocKey{DocKind::user, id("user ann"), kInstance},
                            DocKey{DocKind::database, id("database orders"), kInstance}}) {
    EXPECT_EQ(std::count(given.touched.begin(), given.touched.end(), key), 1) << key.uuid;
    EXPECT_FALSE(render(given.view, key, {}));
  }
}

TEST(Documents, TokenKeepsItsHashBesideTheDocument) {
  const std::string hash(64, 'a'), stream = "token-" + id("t");
  View view = make_view({Aggregate::token, id("t")});
  const std::string payload = token_created("ci", hash).SerializeAsString();
  ASSERT_EQ(project(view, {1, stream, 1, "token_created", 1, payload, {}}, nullptr), std::nullopt);
  const auto document = render(view, {DocKind::token, id("t")}, {});
  EXPECT_EQ(document->token_hash, hash);
  EXPECT_EQ(document->json.find(hash), std::string::npos);
}

TEST(Documents, AQuotaIsOfItsProjectAndGoesWhenItIsTakenAway) {
  const std::string project_id = id("project"), stream = "quota-" + project_id;
  const DocKey key{DocKind::quota, project_id};
  View view = make_view({Aggregate::quota, project_id});
  v1::QuotaEvent set, gone;
  set.mutable_quota_set()->set_instances(3);
  set.mutable_quota_set()->set_ram_mb(4096);
  gone.mutable_quota_deleted();
  const auto take = [&](int64_t version, const v1::QuotaEvent& event, const char* type) {
    const std::string payload = event.SerializeAsString();
    return project(view, {version, stream, version, type, 1, payload, {}}, nullptr);
  };
  ASSERT_EQ(take(1, set, "quota_set"), std::nullopt);
  const auto document = render(view, key, {});
  ASSERT_TRUE(document);
  EXPECT_EQ(document->project_id, project_id);
  const auto json = nlohmann::json::parse(document->json);
  EXPECT_EQ(json["project_id"], project_id);
  EXPECT_EQ(json["instances"], 3);
  EXPECT_EQ(json["cpu"], 0);
  EXPECT_EQ(json["ram"], 4096);
  EXPECT_EQ(document_keys(view), std::vector<DocKey>{key});
  ASSERT_EQ(take(2, gone, "quota_deleted"), std::nullopt);
  EXPECT_FALSE(render(view, key, {}));
  EXPECT_TRUE(document_keys(view).empty());
}

TEST(Documents, ANodesAddressIsNoEndpointWhereThereAreProxies) {
  Given given = running_pair();
  EXPECT_TRUE(given.document().contains("endpoints"));
  given.rendering.endpoint_address = "127.0.0.10";
  EXPECT_FALSE(given.document().contains("endpoints")) << "it was ordered when no port was left";
  EXPECT_TRUE(given.document()["ipsv4"].empty());
}

TEST(Projection, AnEventThatWasSeenChangesNothing) {
  Given given = running_pair();
  const std::string before = given.text(), stream = "instance-" + kInstance,
                    payload = created("another").SerializeAsString();
  EXPECT_EQ(project(given.view, {1, stream, 1, "instance_created", 1, payload, {}}, nullptr),
            std::nullopt);
  EXPECT_EQ(given.text(), before);
}

// Each row is a sound event with one thing wrong.
TEST(Projection, WhatCannotBeProjectedSaysWhyAndChangesNothing) {
  const std::string good = renamed("x").SerializeAsString(), stream = "instance-" + kInstance;
  std::string unknown_member;  // field 999 of InstanceEvent, as a later release may write it
  unknown_member = "\xba\x3e\x02\x08\x01";
  struct Row {
    LogEvent event;
    const char* why;
  };
  const Row rows[] = {
      {{9, stream, 5, "instance_renamed", 1, good, {}}, "version 5 follows 3"},
      {{9, stream, 4, "instance_renamed", 1, "\xff\xff", {}}, "cannot be parsed"},
      {{9, stream, 4, "instance_renamed", 1, "", {}}, "is not known"},
      {{9, stream, 4, "instance_moved", 1, unknown_member, {}}, "is not known"},
      {{9, stream, 4, "instance_resized", 1, good, {}}, "the payload is of type"},
      {{9, stream, 4, "instance_renamed", 2, good, {}}, "schema version 2"},
      {{9, "instance-X", 4, "instance_renamed", 1, good, {}}, "no known aggregate"},
  };
  for (const Row& row : rows) {
    Given given;
    given.with(created("shop"))
        .with(placed("a", "host-a", "127.0.0.11"))
        .with(placed("b", "host-b", "127.0.0.12"));
    const std::string before = given.text();
    const auto error = project(given.view, row.event, nullptr);
    ASSERT_TRUE(error.has_value()) << row.why;
    EXPECT_NE(error->find(row.why), std::string::npos) << *error;
    EXPECT_EQ(given.text(), before);
  }
}

TEST(Projection, AStreamBeginsWithItsCreation) {
  View view = make_view({Aggregate::instance, kInstance});
  const std::string payload = renamed("x").SerializeAsString();
  EXPECT_TRUE(project(view, {1, "instance-" + kInstance, 1, "instance_renamed", 1, payload, {}},
                      nullptr));
}

TEST(Json, HostileTextIsEscaped) {
  const std::string hostile("\"\\\n\t\x01\0</script>\xC3\xA9", 17);
  std::string out = "\"";
  append_json_text(out, hostile);
  out += '"';
  std::string expected = hostile;
  expected.replace(expected.find('\0'), 1, "\xEF\xBF\xBD");
  EXPECT_EQ(json::parse(out).get<std::string>(), expected);
}

TEST(Json, HostileNameMakesNoOtherFields) {
  Given given;
  given.with(created(R"(","nodes":[{"uuid":"x"}],"status":"ACTIVE)"));
  EXPECT_EQ(given.document().at("name"), R"(","nodes":[{"uuid":"x"}],"status":"ACTIVE)");
  EXPECT_EQ(given.document().at("status"), "NEW");
}

TEST(Fields, EveryDocumentHasOnlyFieldsOfItsTable) {
  Given given = running_pair();
  given.with(user_created("ann")).with(database_created("orders", "ann")).with(failed("x"));
  given.with(failover_started(2, "a", v1::FAILOVER_KIND_FAILOVER));
  for (const DocKey& key : document_keys(given.view)) {
    if (key.kind == DocKind::route) continue;
    const json document = given.document(key);
    for (const auto& [field, value] : document.items()) {
      const auto type = field_type(key.kind, field);
      ASSERT_TRUE(type.has_value()) << field;
      EXPECT_EQ(value.is_number(), *type == FieldType::number) << field;
      EXPECT_EQ(value.is_string(), *type == FieldType::text || *type == FieldType::timestamp)
          << field;
    }
  }
  EXPECT_FALSE(field_type(DocKind::user, "password"));
  EXPECT_FALSE(field_type(DocKind::token, "sha256"));
}

TEST(History, ShowsTheEventWithoutItsSecret) {
  const std::string payload = user_created("ann").SerializeAsString(),
                    stream = "instance-" + kInstance;
  const json entry = json::parse(history_json(
      {{7, stream, 2, "user_created", 1, payload, from_unix_us(0)}, "token:t", "c", "r"}));
  EXPECT_EQ(entry.at("payload").at("user_created").at("name"), "ann");
  EXPECT_EQ(entry.dump().find("SCRAM"), std::string::npos);
  EXPECT_EQ(entry.at("position"), 7);
  EXPECT_EQ(entry.at("time"), "1970-01-01T00:00:00.000000Z");
}

TEST(Operations, NameTheResource) {
  const std::string payload = user_created("ann").SerializeAsString(),
                    stream = "instance-" + kInstance;
  const json done = json::parse(
      succeeded_operation("c", {7, stream, 2, "user_created", 1, payload, from_unix_us(0)}, 8));
  EXPECT_EQ(done.at("status"), "SUCCEEDED");
  EXPECT_EQ(done.at("position"), 8);
  EXPECT_EQ(done.at("resource"),
            "/v1/types/postgres/instances/" + kInstance + "/users/" + id("user ann"));
}

TEST(Operations, ShowWhyACommandWasRefused) {
  v1::CommandAnswer answer;
  answer.mutable_rejected()->set_rule("disk_must_not_shrink");
  answer.mutable_rejected()->set_message("disk_size");
  answer.mutable_rejected()->set_blame(v1::BLAME_CONFLICT);
  const json shown = json::parse(*operation_without_events("c", answer, from_unix_us(0)));
  EXPECT_EQ(shown.at("status"), "FAILED");
  EXPECT_EQ(shown.at("error"), (json{{"type", "disk_must_not_shrink"},
                                     {"code", 409},
                                     {"message", "disk_size"}}));
  EXPECT_FALSE(operation_without_events("c", v1::CommandAnswer(), from_unix_us(0)));
}

}  // namespace
}  // namespace trunkline::lookup
