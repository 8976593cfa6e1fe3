// Manifests: everything comes back, and what is damaged is refused.
#include "agent/io/manifest_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agent/io/file_ops.h"

namespace trunkline::agent {
namespace {

Manifest full() {
  Manifest m;
  m.node_id = "11111111-1111-4111-8111-111111111111";
  m.instance_id = "22222222-2222-4222-8222-222222222222";
  m.ensure = EnsureSpec{3, "postgresql-15", {2, 1024, 8}, {"host-a", "a", "127.0.0.1", 5432}};
  RoleSpec role;
  role.generation = 9;
  role.term = 4;
  role.role = NodeRole::standby;
  role.upstream_node_id = "x";
  role.upstream = {"host-b", "b", "127.0.0.2", 5433};
  role.standby_node_ids = {"s"};
  role.sync_version = 5;
  role.sync_candidates = {"c"};
  role.sync_number = 1;
  role.opened_before = true;
  role.peers = {{"22222222-2222-4222-8222-222222222222", "host-b", "127.0.0.2"}};
  m.role = role;
  m.objects = ObjectsSpec{7, {{"u", "ann", "v"}}, {{"d", "shop", "u"}}, {"du"}, {"dd"}};
  m.remove = true;
  m.quarantined = true;
  m.formed = true;
  m.formed_as = NodeRole::standby;
  m.unsynced_boot_id = "boot";
  m.opened_term = 4;
  m.confirmed_sync = "ANY 1 (\"c\")";
  m.proven_generation = 2;
  m.proven_size = {1, 512, 8};
  m.refused_generation = 3;
  m.refused_why = "FATAL:  could not map anonymous shared memory";
  return m;
}

TEST(Manifest, ThereAndBack) {
  EXPECT_EQ(manifest_from_json(manifest_to_json(full())), full());
  Manifest empty;
  empty.node_id = full().node_id;
  EXPECT_EQ(manifest_from_json(manifest_to_json(empty)), empty);
}

TEST(Manifest, ARoleOfTheReleaseBeforeIsAskedForAnew) {
  auto json = nlohmann::json::parse(manifest_to_json(full()));
  json["role"].erase("peers");
  const Manifest old = manifest_from_json(json.dump());
  EXPECT_EQ(old.role->generation, 0u);
  EXPECT_EQ(old.role->term, 4u);
  EXPECT_TRUE(old.role->peers.empty());
}

TEST(ManifestStore, DamagedFilesDoNotHideTheOthers) {
  char name[] = "/tmp/agent-manifest-XXXXXX";
  const std::string directory = ::mkdtemp(name);
  const ManifestStore store(directory);
  store.write(full());
  std::ofstream(directory + "/33333333-3333-4333-8333-333333333333.json") << "{\"format\": 1";
  std::ofstream(directory + "/half.json.new1") << "x";
  EXPECT_EQ(store.read_all(), std::vector<Manifest>{full()});
  EXPECT_FALSE(exists(directory + "/half.json.new1"));
  store.forget(full().node_id);
  store.forget(full().node_id);
  EXPECT_TRUE(store.read_all().empty());
  std::filesystem::remove_all(directory);
}

struct BadSpec {
  const char* field;
  void (*change)(EnsureSpec&);
};
TEST(Specs, HostileTasksAreRefused) {
  const BadSpec rows[] = {
      {"image", [](EnsureSpec& e) { e.image = "../../etc"; }},
      {"image", [](EnsureSpec& e) { e.image = ""; }},
      {"size.cpu", [](EnsureSpec& e) { e.size.cpu = 0; }},
      {"size.ram_mb", [](EnsureSpec& e) { e.size.ram_mb = 1; }},
      {"size.disk_gb", [](EnsureSpec& e) { e.size.disk_gb = 0; }},
      {"address.address", [](EnsureSpec& e) { e.address.address = "x'; --"; }},
      {"address.port", [](EnsureSpec& e) { e.address.port = 80; }},
      {"address.host", [](EnsureSpec& e) { e.address.host = "a b"; }},
  };
  EXPECT_EQ(invalid_reason(*full().ensure), "");
  for (const auto& row : rows) {
    EnsureSpec spec = *full().ensure;
    row.change(spec);
    EXPECT_TRUE(invalid_reason(spec).starts_with(row.field)) << invalid_reason(spec);
  }
  ObjectsSpec objects;
  objects.users = {{"11111111-1111-4111-8111-111111111111", "ann", "plain password"}};
  EXPECT_EQ(invalid_reason(objects), "users has a scram_verifier that is not one");
  RoleSpec role;
  EXPECT_EQ(invalid_reason(role), "role must be primary, standby or fenced");
}

}  // namespace
}  // namespace trunkline::agent
