// Truth tables of the body rules, each row one fact away from a good body. The numbers are written
// out from the contract, not read from the table that they check.
#include "api-gateway/domain/validate.h"

#include <gtest/gtest.h>

#include "api-gateway/domain/command_fields.h"
#include "api-gateway/domain/text_rules.h"

namespace trunkline::gateway {
namespace {

constexpr char kId[] = "33333333-3333-4333-8333-333333333333";
const TimePoint kNow = from_unix_us(1'768'473'000'000'000);

json good(Resource resource) {
  const std::string id = kId;
  switch (resource) {
    case Resource::instance:
      return {{"name", "one"}, {"cpu", 2}, {"ram", 1024}, {"disk_size", 10}, {"nodes_number", 3},
              {"version", "/v1/types/postgres/versions/" + id}};
    case Resource::user: return {{"name", "ann"}, {"password", "12345678"}};
    case Resource::database:
      return {{"name", "db"}, {"owner", "/v1/postgres/instances/" + id + "/users/" + id}};
    case Resource::version: return {{"name", "15"}, {"image", "postgresql-15"}};
    case Resource::quota: return {{"uuid", id}};
    case Resource::token: return {{"name", "ci"}, {"role", "reader"}, {"project_id", id}};
    case Resource::host:
    case Resource::operation:
    case Resource::usage:
    case Resource::invoice:
    case Resource::price_list:
    case Resource::webhook: break;
  }
  return json::object();
}

// "" when the body is fine, else "<code> <type>".
std::string create_verdict(Resource resource, const json& body) {
  const auto outcome = check_create(resource, body, kNow);
  if (outcome) return "";
  return std::to_string(outcome.problem().code) + " " + outcome.problem().type;
}

struct Row {
  Resource resource;
  const char* field;
  json value;
  const char* verdict;
};

TEST(CheckCreate, GoodBodiesAreFine) {
  for (const auto resource : {Resource::instance, Resource::user, Resource::database,
                              Resource::version, Resource::token}) {
    EXPECT_EQ(create_verdict(resource, good(resource)), "") << info(resource).singular;
  }
}

TEST(CheckCreate, RangesTruthTable) {
  const Row rows[] = {
      {Resource::instance, "cpu", 0, "400 cpu_out_of_range"},
      {Resource::instance, "cpu", 1, ""},
      {Resource::instance, "cpu", 128, ""},
      {Resource::instance, "cpu", 129, "400 cpu_out_of_range"},
      {Resource::instance, "cpu", -1, "400 cpu_out_of_range"},
      {Resource::instance, "cpu", 18446744073709551615u, "400 cpu_out_of_range"},
      {Resource::instance, "ram", 511, "400 ram_out_of_range"},
      {Resource::instance, "ram", 512, ""},
      {Resource::instance, "ram", 1048576, ""},
      {Resource::instance, "ram", 1048577, "400 ram_out_of_range"},
      {Resource::instance, "disk_size", 7, "400 disk_size_out_of_range"},
      {Resource::instance, "disk_size", 8, ""},
      {Resource::instance, "disk_size", 1024, ""},
      {Resource::instance, "disk_size", 1025, "400 disk_size_out_of_range"},
      {Resource::instance, "nodes_number", 0, "400 nodes_number_out_of_range"},
      {Resource::instance, "nodes_number", 1, ""},
      {Resource::instance, "nodes_number", 16, ""},
      {Resource::instance, "nodes_number", 17, "400 nodes_number_out_of_range"},
      {Resource::instance, "sync_replica_number", -1, "400 sync_replica_number_out_of_range"},
      {Resource::instance, "sync_replica_number", 0, ""},
      {Resource::instance, "sync_replica_number", 2, ""},
      {Resource::instance, "sync_replica_number", 3, "400 sync_replica_number_too_big"},
      {Resource::instance, "sync_replica_number", 16, "400 sync_replica_number_out_of_range"},
  };
  for (const Row& row : rows) {
    json body = good(row.resource);
    body[row.field] = row.value;
    EXPECT_EQ(create_verdict(row.resource, body), row.verdict) << row.field << " " << row.value;
  }
}

TEST(CheckCreate, TypesTruthTable) {
  const Row rows[] = {
      {Resource::instance, "cpu", 1.0, "400 bad_type"},
      {Resource::instance, "cpu", "1", "400 bad_type"},
      {Resource::instance, "cpu", true, "400 bad_type"},
      {Resource::instance, "cpu", nullptr, "400 bad_type"},
      {Resource::instance, "cpu", json::array(), "400 bad_type"},
      {Resource::instance, "name", 1, "400 bad_type"},
      {Resource::instance, "name", nullptr, "400 bad_type"},
      {Resource::instance, "description", 1, "400 bad_type"},
      {Resource::instance, "uuid", 1, "400 bad_type"},
      {Resource::instance, "uuid", "x", "400 bad_uuid"},
      {Resource::instance, "uuid", "33333333333343338333333333333333", "400 bad_uuid"},
      {Resource::instance, "uuid", "ABCDEF00-3333-4333-8333-333333333333", ""},
      {Resource::instance, "project_id", "x", "400 bad_uuid"},
      {Resource::instance, "version", 15, "400 bad_type"},
      {Resource::instance, "version", "15", "404 reference_not_found"},
      {Resource::instance, "colour", "red", "400 unknown_field"},
      {Resource::instance, "", "red", "400 unknown_field"},
      {Resource::instance, "status", "ACTIVE", "403 read_only"},
      {Resource::instance, "ipsv4", json::array(), "403 read_only"},
      {Resource::instance, "created_at", "2026-01-01T00:00:00Z", "400 read_only"},
      {Resource::instance, "endpoints", json::object(), "400 read_only"},
      {Resource::user, "status", "ACTIVE", "403 read_only"},
      {Resource::database, "status", "ACTIVE", "403 read_only"},
      {Resource::database, "owner", kId, "404 reference_not_found"},
      {Resource::token, "role", "root", "400 bad_value"},
      {Resource::token, "role", "admin", "400 bad_value"},
      {Resource::token, "expires_at", "2001-01-01T00:00:00Z", "400 expires_at_out_of_range"},
      {Resource::token, "expires_at", "2999-01-01T00:00:00Z", ""},
      {Resource::token, "expires_at", "soon", "400 bad_timestamp"},
      {Resource::version, "image", "a b", "400 image_malformed"},
      {Resource::version, "image", "", "400 image_missing"},
      {Resource::version, "image", "Postgres", "400 image_malformed"},
      {Resource::version, "image", "postgres:15", "400 image_malformed"},
      {Resource::version, "image", ".postgres", "400 image_malformed"},
      {Resource::version, "image", "postgresql-15_a.b", ""},
      {Resource::version, "image", std::string(63, 'a'), ""},
      {Resource::version, "image", std::string(64, 'a'), "400 image_too_long"},
  };
  for (const Row& row : rows) {
    json body = good(row.resource);
    body[row.field] = row.value;
    EXPECT_EQ(create_verdict(row.resource, body), row.verdict) << row.field << " " << row.value;
  }
}

TEST(CheckCreate, NamesTruthTable) {
  const std::string longest(63, 'a');
  const std::string multibyte = "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9";
  const Row rows[] = {
      {Resource::database, "name", "a", ""},
      {Resource::database, "name", "_", ""},
      {Resource::database, "name", "A9_z", ""},
      {Resource::database, "name", longest, ""},
      {Resource::database, "name", longest + "a", "400 name_too_long"},
      {Resource::database, "name", "", "400 name_missing"},
      {Resource::database, "name", "9a", "400 name_malformed"},
      {Resource::database, "name", "a$", "400 name_malformed"},
      {Resource::database, "name", "a-b", "400 name_malformed"},
      {Resource::database, "name", "a b", "400 name_malformed"},
      {Resource::database, "name", "\xc3\xa9", "400 name_malformed"},
      {Resource::database, "name", "a\"; DROP", "400 name_malformed"},
      {Resource::database, "name", "postgres", "400 name_reserved"},
      {Resource::database, "name", "template0", "400 name_reserved"},
      {Resource::database, "name", "template1", "400 name_reserved"},
      {Resource::database, "name", "postgres1", ""},
      {Resource::database, "name", "pg_x", ""},
      {Resource::user, "name", "a$", ""},
      {Resource::user, "name", "$a", "400 name_malformed"},
      {Resource::user, "name", longest, ""},
      {Resource::user, "name", longest + "a", "400 name_too_long"},
      {Resource::user, "name", "pg_x", "400 name_reserved"},
      {Resource::user, "name", "dbaas_x", "400 name_reserved"},
      {Resource::user, "name", "postgres", "400 name_reserved"},
      {Resource::user, "name", "postgresql", "400 name_reserved"},
      {Resource::user, "name", "trunkline_x", "400 name_reserved"},
      {Resource::user, "name", "none", "400 name_reserved"},
      {Resource::database, "name", "trunkline_x", "400 name_reserved"},
      {Resource::user, "name", "pgx", ""},
      {Resource::user, "name", "a'b", "400 name_malformed"},
      {Resource::user, "password", "1234567", "400 password_too_short"},
      {Resource::user, "password", "12345678", ""},
      {Resource::user, "password", std::string(99, 'x'), ""},
      {Resource::user, "password", std::string(100, 'x'), "400 password_too_long"},
      {Resource::user, "password", multibyte, "400 password_too_short"},
      {Resource::user, "password", multibyte + "\xc3\xa9", ""},
      {Resource::instance, "name", "", "400 name_missing"},
      {Resource::instance, "name", std::string(255, 'x'), ""},
      {Resource::instance, "name", std::string(256, 'x'), "400 name_too_long"},
      {Resource::instance, "name", "a\nb", "400 name_malformed"},
      {Resource::instance, "description", std::string(4096, 'x'), ""},
      {Resource::instance, "description", std::string(4097, 'x'), "400 description_too_long"},
      {Resource::instance, "description", "a\nb\tc", ""},
      {Resource::instance, "name", "a\u202eb", "400 name_malformed"},
      {Resource::instance, "name", "a\u200bb", "400 name_malformed"},
      {Resource::instance, "name", "\ufeffa", "400 name_malformed"},
      {Resource::instance, "name", "a\u0085b", "400 name_malformed"},
      {Resource::instance, "name", "\u00e9\u4e2d", ""},
      {Resource::instance, "description", "a\u202eb", "400 description_malformed"},
      {Resource::instance, "description", "\U0001f469\u200d\U0001f4bb", ""},
      {Resource::token, "name", "a\u2066b", "400 name_malformed"},
      {Resource::version, "name", "a\u00adb", "400 name_malformed"},
      {Resource::database, "locale", "en_US.UTF-8", ""},
      {Resource::database, "locale", "", "400 locale_missing"},
      {Resource::database, "locale", "de'; DROP", "400 locale_malformed"},
      {Resource::database, "encoding", "UTF8", ""},
      {Resource::database, "encoding", "utf-8", "400 bad_value"},
      {Resource::database, "icu_locale", "de-AT", ""},
      {Resource::database, "icu_locale", std::string(64, 'a'), "400 icu_locale_too_long"},
      {Resource::instance, "description", "a\x01", "400 description_malformed"},
  };
  for (const Row& row : rows) {
    json body = good(row.resource);
    body[row.field] = row.value;
    EXPECT_EQ(create_verdict(row.resource, body), row.verdict)
        << info(row.resource).singular << " " << row.value.dump().substr(0, 40);
  }
}

TEST(CheckCreate, ANameThatIsRefusedSaysWhatWouldDo) {
  const auto message = [](Resource resource, const char* name) {
    json body = good(resource);
    body["name"] = name;
    return check_create(resource, body, TimePoint()).problem().message;
  };
  EXPECT_NE(message(Resource::user, "my-app").find("; my_app would do"), std::string::npos);
  EXPECT_NE(message(Resource::database, "my-app").find("; my_app would do"), std::string::npos);
  EXPECT_NE(message(Resource::database, "2go").find("; _2go would do"), std::string::npos);
  EXPECT_NE(message(Resource::user, "my-app").find("a-z, A-Z"), std::string::npos);
  EXPECT_EQ(message(Resource::user, "a'b").find("would do"), std::string::npos);
}

TEST(CheckCreate, EachRequiredFieldIsMissed) {
  const std::pair<Resource, std::vector<const char*>> rows[] = {
      {Resource::instance, {"name", "cpu", "ram", "disk_size", "nodes_number", "version"}},
      {Resource::user, {"name", "password"}},
      {Resource::database, {"name", "owner"}},
      {Resource::version, {"name", "image"}},
      {Resource::token, {"name", "role", "project_id"}}};
  for (const auto& [resource, fields] : rows) {
    for (const char* field : fields) {
      json body = good(resource);
      body.erase(field);
      const auto outcome = check_create(resource, body, kNow);
      ASSERT_FALSE(outcome) << field;
      EXPECT_EQ(outcome.problem().type, std::string(field) + "_missing");
      EXPECT_NE(outcome.problem().message.find(field), std::string::npos);
    }
  }
}

TEST(CheckCreate, MessagesNameFieldAndRangeAndNoSecret) {
  json body = good(Resource::instance);
  body["ram"] = 1;
  const auto range = check_create(Resource::instance, body, kNow);
  EXPECT_EQ(range.problem().message, "ram must be from 512 to 1048576");
  body["colour"] = "red";
  const auto unknown = check_create(Resource::instance, body, kNow);
  EXPECT_EQ(unknown.problem().message, "an instance has no field 'colour'");
  body = good(Resource::user);
  body["password"] = "canary";
  const auto secret = check_create(Resource::user, body, kNow);
  EXPECT_EQ(secret.problem().message, "password must have 8 to 99 characters");
}

TEST(CheckCreate, DefaultSyncReplicas) {
  for (const auto& [nodes, sync] : {std::pair(1, 0), {2, 1}, {16, 1}}) {
    json body = good(Resource::instance);
    body["nodes_number"] = nodes;
    const auto outcome = check_create(Resource::instance, body, kNow);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(*value_of<int64_t>(*outcome, "sync_replica_number"), sync);
    EXPECT_EQ(*value_of<std::string>(*outcome, "description"), "");
  }
}

TEST(CheckAgainst, FrozenFieldsTruthTable) {
  const std::string id = kId;
  const json current = {{"uuid", id},
                        {"name", "ann"},
                        {"instance", "/v1/types/postgres/instances/" + id},
                        {"created_at", "2026-01-15T10:30:00.123456Z"},
                        {"project_id", id}};
  const Row rows[] = {
      {Resource::user, "name", "ann", ""},
      {Resource::user, "name", "bob", "400 read_only"},
      {Resource::user, "uuid", id, ""},
      {Resource::user, "uuid", "x", "400 uuid_mismatch"},
      {Resource::user, "instance", "/v1/postgres/instances/" + id, ""},
      {Resource::user, "instance", "/v1/postgres/instances/" + id + "/", ""},
      {Resource::user, "instance", id, "400 read_only"},
      {Resource::user, "created_at", "2026-01-15T10:30:00.123456Z", ""},
      {Resource::user, "created_at", "2026-01-15T12:30:00.123456+02:00", ""},
      {Resource::user, "created_at", "2026-01-15T10:30:00.123457Z", "400 read_only"},
      {Resource::user, "created_at", 5, "400 read_only"},
      {Resource::user, "error", json::object(), ""},
      {Resource::user, "description", "new", ""},
      {Resource::user, "password", "12345678", ""},
  };
  for (const Row& row : rows) {
    const json body = {{row.field, row.value}};
    const auto values = check_update(row.resource, body, kNow);
    ASSERT_TRUE(values) << row.field;
    const auto problem = check_against(row.resource, body, *values, current);
    EXPECT_EQ(problem ? std::to_string(problem->code) + " " + problem->type : "", row.verdict)
        << row.field << " " << row.value;
  }
}

TEST(CheckUpdate, AnythingMayBeLeftOut) {
  for (const auto resource : {Resource::instance, Resource::user, Resource::database,
                              Resource::version, Resource::host}) {
    const auto values = check_update(resource, json::object(), kNow);
    ASSERT_TRUE(values);
    EXPECT_TRUE(values->empty()) << "a default must not overwrite what is there";
  }
}

TEST(CommandFields, EveryPathOfTheTableIsAFieldOfItsCommand) {
  for (const Field& field : all_fields()) {
    for (const Verb verb : {Verb::create, Verb::update}) {
      const std::string_view path = verb == Verb::create ? field.create_path : field.update_path;
      if (path.empty()) continue;
      FieldValue value = std::string("x");
      if (field.type == FieldType::integer || field.type == FieldType::timestamp) {
        value = int64_t{1};
      }
      if (field.type == FieldType::boolean) value = true;
      if (field.type == FieldType::reference) value = Reference{kId, kId};
      v1::Command command;
      EXPECT_NO_THROW(fill_command(field.resource, verb, kId,
                                   {{std::string(field.name), value}}, &command))
          << field.name;
      EXPECT_GT(command.ByteSizeLong(), 0u);
    }
  }
}

TEST(CommandFields, WhatMayBeWrittenIsWritten) {
  // A field that a client may set but that goes nowhere would be lost without a word.
  for (const Field& field : all_fields()) {
    if (field.name == "uuid" || field.name == "project_id" || field.name == "instance") continue;
    const bool creates = !info(field.resource).create_message.empty();
    const bool settable = field.on_create == OnCreate::required ||
                          field.on_create == OnCreate::optional;
    if (creates && settable) {
      EXPECT_FALSE(field.create_path.empty()) << field.name;
    }
    if (!info(field.resource).update_message.empty() && field.on_update == OnUpdate::allowed) {
      EXPECT_FALSE(field.update_path.empty()) << field.name;
    }
  }
}

TEST(CommandFields, UpdateSetsOnlyWhatIsGiven) {
  v1::Command command;
  fill_command(Resource::instance, Verb::update, kId, {{"ram", FieldValue(int64_t{2048})}},
               &command);
  const auto& update = command.instance().update_instance();
  EXPECT_EQ(update.ram_mb(), 2048u);
  EXPECT_FALSE(update.has_cpu());
  EXPECT_FALSE(update.has_name());
}

}  // namespace
}  // namespace trunkline::gateway
