// What a project may have, and that nobody gets around it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "provisioner/domain/project_use.h"
#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

using ::testing::HasSubstr;

const std::string kProject = uuid_from_name("test/project");
const std::string kOther = uuid_from_name("test/other project");

QuotaState quota_of(const std::string& project, const Quota& quota) {
  QuotaState state(project);
  state.is_set = true;
  state.quota = quota;
  return state;
}

InstanceState instance(const std::string& name, const Size& size, uint32_t nodes,
                       const std::string& project = kProject) {
  InstanceState state(InstanceId(uuid_from_name(name)));
  state.status = InstanceStatus::active;
  state.spec.project = ProjectId(project);
  state.spec.size = size;
  state.spec.nodes_number = nodes;
  return state;
}

std::string hold(ProjectUse& use, const InstanceState& wanted) {
  const auto refusal =
      use.hold(wanted.id, wanted.spec.project, wanted.spec.size, wanted.spec.nodes_number);
  return refusal ? refusal->rule + ": " + refusal->message : "";
}

TEST(ProjectUse, EachBoundOneBeyond) {
  // There is one instance of three nodes {1, 1024, 10}.
  struct Row {
    const char* name;
    Quota quota;
    Size size;
    uint32_t nodes;
    const char* lacks;  // "": allowed
  };
  const Quota enough{.instances = 2, .cpu = 5, .ram_mb = 5120, .disk_gb = 50};
  const auto with = [&](auto change) {
    Quota quota = enough;
    change(quota);
    return quota;
  };
  const Row rows[] = {
      {"to the last", enough, {1, 1024, 10}, 2, ""},
      {"instances", with([](Quota& q) { q.instances = 1; }), {1, 1024, 10}, 2,
       "instances 1 of 1 in use, 1 more wanted"},
      {"cpu", with([](Quota& q) { q.cpu = 4; }), {1, 1024, 10}, 2,
       "cpu 3 of 4 in use, 2 more wanted"},
      {"ram", with([](Quota& q) { q.ram_mb = 5119; }), {1, 1024, 10}, 2,
       "ram 3072 MB of 5119 MB in use, 2048 MB more wanted"},
      {"disk", with([](Quota& q) { q.disk_gb = 49; }), {1, 1024, 10}, 2,
       "disk_size 30 GB of 49 GB in use, 20 GB more wanted"},
      {"nothing at all is allowed", {0, 0, 0, 0}, {1, 512, 8}, 1, "instances 1 of 0 in use"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    ProjectUse use;
    use.set_quota(quota_of(kProject, row.quota));
    use.set_instance(instance("x", {1, 1024, 10}, 3));
    const std::string outcome = hold(use, instance("new", row.size, row.nodes));
    if (*row.lacks == '\0') {
      EXPECT_EQ(outcome, "");
    } else {
      EXPECT_THAT(outcome, HasSubstr("quota_exceeded: "));
      EXPECT_THAT(outcome, HasSubstr(row.lacks));
    }
    EXPECT_EQ(hold(use, instance("theirs", {100, 1024, 10}, 3, kOther)), "") << "another project's";
  }
}

TEST(ProjectUse, TwoAtOnceDoNotBothGetTheLast) {
  ProjectUse use;
  use.set_quota(quota_of(kProject, {.instances = 1}));
  const InstanceState one = instance("one", {1, 512, 8}, 1), two = instance("two", {1, 512, 8}, 1);
  EXPECT_EQ(hold(use, one), "");
  EXPECT_NE(hold(use, two), "");
  EXPECT_EQ(hold(use, one), "") << "asked again";
  use.release(one.id);
  EXPECT_EQ(hold(use, two), "") << "the other one was refused for something else";
  use.set_instance(two);
  EXPECT_NE(hold(use, one), "");
  InstanceState gone = two;
  gone.status = InstanceStatus::deleting;
  use.set_instance(gone);
  EXPECT_EQ(hold(use, one), "");
}

TEST(ProjectUse, OnlyWhatGrowsIsRefused) {
  ProjectUse use;
  use.set_instance(instance("x", {4, 4096, 40}, 3));
  use.set_quota(quota_of(kProject, {.instances = 0, .cpu = 6, .ram_mb = 1024, .disk_gb = 200}));
  EXPECT_EQ(hold(use, instance("x", {2, 2048, 40}, 3)), "") << "it has more than it may have";
  EXPECT_EQ(hold(use, instance("x", {4, 4096, 60}, 3)), "") << "disk is left";
  EXPECT_THAT(hold(use, instance("x", {5, 4096, 40}, 3)), HasSubstr("cpu 12 of 6"));
  EXPECT_NE(hold(use, instance("x", {4, 4096, 67}, 3)), "");
}

TEST(ProjectUse, TheDefaultIsForProjectsWithoutTheirOwn) {
  ProjectUse use;
  use.set_quota(quota_of(kDefaultQuotaId, {.instances = 0}));
  use.set_quota(quota_of(kOther, {.instances = 1}));
  EXPECT_NE(hold(use, instance("x", {1, 512, 8}, 1)), "");
  EXPECT_EQ(hold(use, instance("y", {1, 512, 8}, 1, kOther)), "");
  use.set_quota(QuotaState(kOther));
  EXPECT_NE(hold(use, instance("y", {1, 512, 8}, 1, kOther)), "") << "taken away again";
  use.set_quota(QuotaState(kDefaultQuotaId));
  EXPECT_EQ(hold(use, instance("x", {1, 512, 8}, 1)), "");
}

// ---- the aggregate -------------------------------------------------------------------------

std::string outcome(QuotaState& state, const v1::QuotaCommand& command) {
  const auto decision = decide(state, command, {}, kStart);
  if (const auto* events = std::get_if<std::vector<v1::QuotaEvent>>(&decision)) {
    for (const auto& event : *events) evolve(state, event, kStart);
  }
  const std::string text = trunkline::testing::describe(decision);
  for (const std::string event : {"quota_set", "quota_deleted"}) {
    if (text.starts_with("accepted: {" + event)) return "accepted: " + event;
  }
  return text;
}

TEST(Quota, IsSetChangedAndTakenAway) {
  v1::QuotaCommand create, change, remove;
  create.mutable_create_quota()->set_instances(3);
  create.mutable_create_quota()->set_cpu(8);
  change.mutable_update_quota()->set_cpu(9);
  remove.mutable_delete_quota();
  QuotaState state(kProject);
  EXPECT_EQ(outcome(state, change), "rejected: quota_not_found (not_found)");
  EXPECT_EQ(outcome(state, remove), "rejected: quota_not_found (not_found)");
  EXPECT_EQ(outcome(state, create), "accepted: quota_set");
  EXPECT_EQ(outcome(state, create), "rejected: uuid_in_use (conflict)");
  EXPECT_EQ(outcome(state, change), "accepted: quota_set");
  EXPECT_EQ(state.quota, (Quota{.instances = 3, .cpu = 9, .ram_mb = 0, .disk_gb = 0}));
  EXPECT_EQ(outcome(state, change).rfind("ignored", 0), 0u);
  change.mutable_update_quota()->set_ram_mb(kMaxQuotaRamMb + 1);
  EXPECT_EQ(outcome(state, change), "rejected: quota_out_of_range (bad_value)");
  EXPECT_EQ(outcome(state, remove), "accepted: quota_deleted");
  EXPECT_FALSE(state.is_set);
  EXPECT_EQ(outcome(state, v1::QuotaCommand()), "rejected: command_empty (bad_value)");
  QuotaState bad("project");
  EXPECT_EQ(outcome(bad, create), "rejected: uuid_malformed (bad_value)");
}

TEST(Quota, ARefusalStandsAgainstOrdersAndGrowthOnly) {
  InstanceFacts refused = offered();
  refused.refusal = reject(RejectionBlame::conflict, "quota_exceeded", "no");
  Scene scene;
  scene.when(create(), refused).then("rejected: quota_exceeded (conflict)");
  scene.after_active(1, 0);
  Command change = update();
  change.mutable_update_instance()->set_ram_mb(2048);
  scene.when(change, refused).then("rejected: quota_exceeded (conflict)");
  change.mutable_update_instance()->set_ram_mb(512);
  scene.when(change, refused).then("accepted: instance_resized");
  change.mutable_update_instance()->set_nodes_number(2);
  scene.when(change, refused).then("rejected: quota_exceeded (conflict)");
}

}  // namespace
}  // namespace trunkline::provisioner::testing
