#include "lookup/domain/audit.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "trunkline/v1/envelope.pb.h"

namespace trunkline::lookup {
namespace {

using nlohmann::json;

AuditRow row() {
  v1::CommandAnswer answer;
  answer.mutable_rejected()->set_rule("name_in_use");
  answer.mutable_rejected()->set_message("the name is in use");
  return {"11111111-1111-4111-8111-111111111111",
          1'768'473'000'123'456,
          "token:a",
          "admin",
          "p",
          "192.0.2.7",
          "curl",
          "create_instance",
          "instance-x",
          "rejected",
          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
          answer.SerializeAsString()};
}

TEST(Audit, AnEntrySaysWhoWhatWhenFromWhereAndWhatCameOfIt) {
  const json shown = json::parse(audit_json(row(), true));
  const json expected = {{"time", "2026-01-15T10:30:00.123456Z"},
                         {"command_id", "11111111-1111-4111-8111-111111111111"},
                         {"actor", "token:a"},
                         {"role", "admin"},
                         {"project_id", "p"},
                         {"client_address", "192.0.2.7"},
                         {"user_agent", "curl"},
                         {"command", "create_instance"},
                         {"target", "instance-x"},
                         {"outcome", "rejected"},
                         {"rule", "name_in_use"},
                         {"message", "the name is in use"},
                         {"trace_id", "0af7651916cd43dd8448eb211c80319c"}};
  EXPECT_EQ(shown, expected);
}

TEST(Audit, RefusalsSayHowMany) {
  AuditRow entry = row();
  entry.command = "record_refusals";
  entry.outcome = "ignored";
  v1::CommandAnswer answer;
  answer.mutable_ignored()->set_why("3 x 404");
  entry.answer = answer.SerializeAsString();
  const json shown = json::parse(audit_json(entry, true));
  EXPECT_EQ(shown.at("message"), "3 x 404");
  EXPECT_FALSE(shown.contains("rule"));
}

TEST(Audit, ATenantIsNotToldWhereAnAdministratorSits) {
  AuditRow entry = row();
  json shown = json::parse(audit_json(entry, false));
  EXPECT_EQ(shown.at("client_address"), "");
  EXPECT_EQ(shown.at("user_agent"), "");
  EXPECT_EQ(shown.at("actor"), "token:a");
  entry.role = "member";
  shown = json::parse(audit_json(entry, false));
  EXPECT_EQ(shown.at("client_address"), "192.0.2.7");
  EXPECT_EQ(shown.at("user_agent"), "curl");
}

TEST(Audit, WhoSeesWhat) {
  struct Case {
    bool all;
    std::string own, wished;
    bool nothing;
    std::optional<std::string> project;
  };
  const Case cases[] = {
      {true, "", "", false, std::nullopt}, {true, "", "b", false, "b"},
      {false, "a", "", false, "a"},        {false, "a", "a", false, "a"},
      {false, "a", "b", true, "a"},        {false, "", "", true, ""},
      {false, "", "b", true, ""},
  };
  for (const Case& c : cases) {
    v1::Scope scope;
    scope.set_all_projects(c.all);
    scope.set_project_id(c.own);
    v1::ListAudit wish;
    wish.set_project_id(c.wished);
    const AuditScope found = audit_scope(scope, wish);
    EXPECT_EQ(found.nothing, c.nothing) << c.all << c.own << c.wished;
    EXPECT_EQ(found.project, c.project) << c.all << c.own << c.wished;
  }
}

TEST(Audit, AMarkerNamesItsRowAndNothingElseIsOne) {
  const auto place = parse_audit_marker(marker_of(row()));
  ASSERT_TRUE(place);
  EXPECT_EQ(place->recorded_us, row().recorded_us);
  EXPECT_EQ(place->command_id, row().command_id);
  for (const char* bad : {"", ".", "1.", "1.x", ".11111111-1111-4111-8111-111111111111",
                          "x.11111111-1111-4111-8111-111111111111",
                          "-1.11111111-1111-4111-8111-111111111111",
                          "1 .11111111-1111-4111-8111-111111111111",
                          "99999999999999999999.11111111-1111-4111-8111-111111111111"}) {
    EXPECT_FALSE(parse_audit_marker(bad)) << bad;
  }
}

}  // namespace
}  // namespace trunkline::lookup
