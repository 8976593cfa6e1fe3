// Hosts, versions and tokens: each rule one fact away from a good command.
#include <gtest/gtest.h>

#include "provisioner/io/aggregates.h"
#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

// A scene of any aggregate, as the command shell would play it.
template <class Aggregate>
class SceneOf
    : public trunkline::testing::Scenario<typename Aggregate::State, typename Aggregate::Event> {
 public:
  explicit SceneOf(const std::string& uuid)
      : SceneOf::Scenario(Aggregate::initial(uuid), [](auto& state, const auto& event) {
          Aggregate::evolve(state, event, kStart);
        }) {}
  SceneOf& when(const typename Aggregate::Command& command,
                const typename Aggregate::Facts& facts = {}) {
    SceneOf::Scenario::when([&](const typename Aggregate::State& state) {
      return Aggregate::decide(state, command, facts, kStart);
    });
    return *this;
  }
};

TEST(Aggregates, AreNamedAsTheirStreams) {
  EXPECT_STREQ(InstanceAggregate::kName, "instance");
  EXPECT_STREQ(HostAggregate::kName, "host");
  EXPECT_STREQ(VersionAggregate::kName, "version");
  EXPECT_STREQ(TokenAggregate::kName, "token");
  SceneOf<InstanceAggregate> scene(kInstance.str());
  scene.when(create(), offered()).then("accepted: instance_created");
  EXPECT_EQ(scene.state().version, 1u);
}

// ---- hosts ---------------------------------------------------------------------------------

v1::HostCommand register_host() {
  v1::HostCommand command;
  auto& c = *command.mutable_register_host();
  c.set_name("host-a");
  c.set_zone("a");
  c.set_address("127.0.0.1");
  c.set_cpu(2);
  c.set_ram_mb(8192);
  c.set_disk_gb(100);
  c.add_images("postgresql-15");
  return command;
}

SceneOf<HostAggregate> host_a() { return SceneOf<HostAggregate>(host_uuid(HostName("host-a"))); }

TEST(RegisterHost, EachRuleOneFactAway) {
  using Change = void (*)(v1::RegisterHost&);
  const std::pair<Change, const char*> rows[] = {
      {[](auto&) {}, "accepted: host_registered"},
      {[](auto& c) { c.clear_name(); }, "rejected: host_name_malformed (bad_value)"},
      {[](auto& c) { c.set_name("host.a"); }, "rejected: host_name_malformed (bad_value)"},
      {[](auto& c) { c.set_name("Host-a"); }, "rejected: host_name_malformed (bad_value)"},
      {[](auto& c) { c.set_name("host-*"); }, "rejected: host_name_malformed (bad_value)"},
      {[](auto& c) { c.set_name("../a"); }, "rejected: host_name_malformed (bad_value)"},
      {[](auto& c) { c.set_name("host-b"); }, "rejected: host_name_mismatch (bad_value)"},
      {[](auto& c) { c.clear_zone(); }, "rejected: zone_missing (bad_value)"},
      {[](auto& c) { c.clear_address(); }, "rejected: address_missing (bad_value)"},
      {[](auto& c) { c.clear_cpu(); }, "rejected: capacity_missing (bad_value)"},
      {[](auto& c) { c.clear_ram_mb(); }, "rejected: capacity_missing (bad_value)"},
      {[](auto& c) { c.clear_disk_gb(); }, "rejected: capacity_missing (bad_value)"},
      {[](auto& c) { c.clear_images(); }, "accepted: host_registered"},
  };
  for (const auto& [change, expected] : rows) {
    v1::HostCommand command = register_host();
    change(*command.mutable_register_host());
    SCOPED_TRACE(command.ShortDebugString());
    host_a().when(command).then(expected);
  }
}

TEST(RegisterHost, AgainIsIgnoredUntilSomethingChanges) {
  v1::HostCommand command = register_host();
  command.mutable_register_host()->add_images("postgresql-14");
  auto scene = host_a();
  scene.when(command).then("accepted: host_registered");
  scene.when(command).then("ignored");
  auto& images = *command.mutable_register_host()->mutable_images();
  images.SwapElements(0, 1);
  scene.when(command).then("ignored");
  command.mutable_register_host()->set_ram_mb(4096);
  scene.when(command).then("accepted: host_registered");
  EXPECT_EQ(scene.state().ram_mb, 4096u);
}

TEST(SetHostSchedulable, OutAndIn) {
  v1::HostCommand out, in;
  out.mutable_set_host_schedulable()->set_schedulable(false);
  in.mutable_set_host_schedulable()->set_schedulable(true);
  auto scene = host_a();
  scene.when(out).then("rejected: host_not_found (not_found)");
  scene.when(register_host()).when(in).then("ignored");
  scene.when(out).then("accepted: host_schedulable_set");
  scene.when(out).then("ignored");
  scene.when(register_host()).then("ignored");
  EXPECT_FALSE(scene.state().schedulable);
  scene.when(in).then("accepted: host_schedulable_set");
  scene.when(v1::HostCommand()).then("rejected: command_empty (bad_value)");
}

TEST(HostService, DrainedAndLostUntilItIsSchedulableAgain) {
  v1::HostCommand in, out, drain, lose;
  in.mutable_set_host_schedulable()->set_schedulable(true);
  out.mutable_set_host_schedulable()->set_schedulable(false);
  drain.mutable_drain_host();
  lose.mutable_declare_host_lost();
  auto scene = host_a();
  scene.when(drain).then("rejected: host_not_found (not_found)");
  scene.when(lose).then("rejected: host_not_found (not_found)");
  scene.when(register_host()).when(drain).then("accepted: host_drain_started");
  EXPECT_EQ(scene.state().service, HostService::draining);
  EXPECT_FALSE(scene.state().schedulable);
  scene.when(drain).then("ignored");
  scene.when(out).then("ignored");
  scene.when(register_host()).then("ignored");
  scene.when(lose).then("accepted: host_lost");
  EXPECT_EQ(scene.state().service, HostService::lost);
  scene.when(lose).then("ignored");
  scene.when(drain).then("accepted: host_drain_started");
  scene.when(in).then("accepted: host_schedulable_set");
  EXPECT_EQ(scene.state().service, HostService::in_service);
  EXPECT_TRUE(scene.state().schedulable);
  scene.when(out).when(lose).then("accepted: host_lost");
}

// ---- versions ------------------------------------------------------------------------------

v1::VersionCommand create_version() {
  v1::VersionCommand command;
  command.mutable_create_version()->set_name("15");
  command.mutable_create_version()->set_image("postgresql-15");
  return command;
}
v1::VersionCommand delete_version() {
  v1::VersionCommand command;
  command.mutable_delete_version();
  return command;
}
SceneOf<VersionAggregate> version(bool created) {
  SceneOf<VersionAggregate> scene(kVersion);
  if (created) scene.when(create_version());
  return scene;
}

TEST(CreateVersion, EachRuleOneFactAway) {
  using Change = void (*)(v1::CreateVersion&);
  const std::pair<Change, const char*> rows[] = {
      {[](auto&) {}, "accepted: version_created"},
      {[](auto& c) { c.clear_name(); }, "rejected: name_missing (bad_value)"},
      {[](auto& c) { c.set_name("14"); }, "rejected: name_in_use (conflict)"},
      {[](auto& c) { c.clear_image(); }, "rejected: image_malformed (bad_value)"},
      {[](auto& c) { c.set_image("../etc"); }, "rejected: image_malformed (bad_value)"},
      {[](auto& c) { c.set_image("a/b"); }, "rejected: image_malformed (bad_value)"},
      {[](auto& c) { c.set_image("PostgreSQL-15"); }, "rejected: image_malformed (bad_value)"},
      {[](auto& c) { c.set_description("\x01"); }, "rejected: description_malformed (bad_value)"},
  };
  for (const auto& [change, expected] : rows) {
    v1::VersionCommand command = create_version();
    change(*command.mutable_create_version());
    SCOPED_TRACE(command.ShortDebugString());
    version(false).when(command, {.names_in_use = {"14"}}).then(expected);
  }
  version(true).when(create_version()).then("rejected: uuid_in_use (conflict)");
}

TEST(UpdateVersion, ItsImageIsFixedWhileInstancesRunIt) {
  v1::VersionCommand command;
  auto& c = *command.mutable_update_version();
  version(false).when(command).then("rejected: version_not_found (not_found)");
  version(true).when(command).then("ignored");
  c.set_name("15");
  c.set_image("postgresql-15");
  version(true).when(command, {.instances = 1}).then("ignored");
  c.set_name("15.2");
  version(true).when(command, {.instances = 1}).then("accepted: version_updated");
  version(true).when(command, {.names_in_use = {"15.2"}}).then(
      "rejected: name_in_use (conflict)");
  c.set_image("postgresql-15.2");
  version(true).when(command, {.instances = 1}).then("rejected: version_in_use (conflict)");
  version(true).when(command).then("accepted: version_updated");
}

TEST(DeleteVersion, NotWhileInstancesRunIt) {
  version(false).when(delete_version()).then("rejected: version_not_found (not_found)");
  version(true).when(delete_version(), {.instances = 2}).then(
      "rejected: version_in_use (conflict)");
  version(true).when(delete_version(), {.instances = 2}).then_message_has("2 instances");
  auto scene = version(true);
  scene.when(delete_version()).then("accepted: version_deleted");
  EXPECT_FALSE(scene.state().is_offered());
  scene.when(delete_version()).then("rejected: version_not_found (not_found)");
  scene.when(create_version()).then("rejected: uuid_in_use (conflict)");
  scene.when(v1::VersionCommand()).then("rejected: command_empty (bad_value)");
}

// ---- tokens --------------------------------------------------------------------------------

v1::TokenCommand create_token() {
  v1::TokenCommand command;
  auto& c = *command.mutable_create_token();
  c.set_sha256(hex(sha256("a token")));
  c.set_project_id("project");
  c.set_role("member");
  c.set_name("ci");
  return command;
}
SceneOf<TokenAggregate> token(bool created) {
  SceneOf<TokenAggregate> scene(uuid_from_name("test/token"));
  if (created) scene.when(create_token());
  return scene;
}

TEST(CreateToken, EachRuleOneFactAway) {
  using Change = void (*)(v1::CreateToken&);
  const std::pair<Change, const char*> rows[] = {
      {[](auto&) {}, "accepted: token_created"},
      {[](auto& c) { c.set_role("reader"); }, "accepted: token_created"},
      {[](auto& c) { c.set_role("owner"); }, "rejected: role_unknown (bad_value)"},
      {[](auto& c) { c.set_role("admin"); }, "rejected: project_id_not_allowed (bad_value)"},
      {[](auto& c) {
         c.set_role("admin");
         c.clear_project_id();
       }, "accepted: token_created"},
      {[](auto& c) { c.clear_project_id(); }, "rejected: project_id_missing (bad_value)"},
      {[](auto& c) { c.clear_name(); }, "rejected: name_missing (bad_value)"},
      {[](auto& c) { c.set_sha256("a token"); }, "rejected: digest_malformed (bad_value)"},
      {[](auto& c) { c.mutable_sha256()->at(0) = 'G'; }, "rejected: digest_malformed (bad_value)"},
      {[](auto& c) { c.set_expires_unix_us(to_unix_us(kStart)); },
       "rejected: expires_in_past (bad_value)"},
      {[](auto& c) { c.set_expires_unix_us(to_unix_us(kStart) + 1); }, "accepted: token_created"},
  };
  for (const auto& [change, expected] : rows) {
    v1::TokenCommand command = create_token();
    change(*command.mutable_create_token());
    SCOPED_TRACE(command.ShortDebugString());
    token(false).when(command).then(expected);
  }
}

TEST(Token, CreatedOnceAndRevokedOnce) {
  v1::TokenCommand revoke;
  revoke.mutable_revoke_token();
  v1::TokenCommand other = create_token();
  other.mutable_create_token()->set_role("reader");
  token(false).when(revoke).then("rejected: token_not_found (not_found)");
  auto scene = token(true);
  scene.when(create_token()).then("ignored");
  scene.when(other).then("rejected: uuid_in_use (conflict)");
  scene.when(revoke).then("accepted: token_revoked");
  scene.when(revoke).then("ignored");
  scene.when(create_token()).then("rejected: uuid_in_use (conflict)");
  scene.when(v1::TokenCommand()).then("rejected: command_empty (bad_value)");
}

}  // namespace
}  // namespace trunkline::provisioner::testing
