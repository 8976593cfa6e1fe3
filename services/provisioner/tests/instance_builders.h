// Commands and events of the instance aggregate with sensible values, for tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "provisioner/domain/instance_decide.h"
#include "provisioner/domain/instance_evolve.h"
#include "provisioner/domain/instance_state.h"
#include "testing/given_when_then.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::provisioner::testing {

using Command = v1::InstanceCommand;
using Event = v1::InstanceEvent;

inline const InstanceId kInstance(uuid_from_name("test/instance"));
inline const std::string kVersion = uuid_from_name("test/version");
inline const std::string kAlice = uuid_from_name("test/user/alice");
inline const std::string kBob = uuid_from_name("test/user/bob");
inline const std::string kApp = uuid_from_name("test/database/app");
inline const std::string kShop = uuid_from_name("test/database/shop");
inline const TimePoint kStart = from_unix_us(1'700'000'000'000'000);

inline std::string verifier(const std::string& salt = "0123456789abcdef") {
  return scram_sha256_verifier("correct horse", salt, 1);
}

inline InstanceFacts offered() {
  return {.version = {.exists = true, .offered = true, .image = "postgresql-15"}, .taken = {}};
}

inline Command create(uint32_t nodes = 1, uint32_t sync = 0) {
  Command command;
  auto& c = *command.mutable_create_instance();
  c.set_project_id(uuid_from_name("test/project"));
  c.set_name("orders");
  c.mutable_size()->set_cpu(1);
  c.mutable_size()->set_ram_mb(1024);
  c.mutable_size()->set_disk_gb(10);
  c.set_nodes_number(nodes);
  c.set_sync_replica_number(sync);
  c.set_version_id(kVersion);
  c.set_image("postgresql-15");
  return command;
}

inline Command update() {
  Command command;
  command.mutable_update_instance();
  return command;
}
inline Command remove() {
  Command command;
  command.mutable_delete_instance();
  return command;
}
inline Command create_user(const std::string& id, const std::string& name) {
  Command command;
  auto& c = *command.mutable_create_user();
  c.set_user_id(id);
  c.set_name(name);
  c.set_scram_verifier(verifier());
  return command;
}
inline Command delete_user(const std::string& id) {
  Command command;
  command.mutable_delete_user()->set_user_id(id);
  return command;
}
inline Command create_database(const std::string& id, const std::string& name,
                               const std::string& owner) {
  Command command;
  auto& c = *command.mutable_create_database();
  c.set_database_id(id);
  c.set_name(name);
  c.set_owner_id(owner);
  return command;
}
inline Command delete_database(const std::string& id) {
  Command command;
  command.mutable_delete_database()->set_database_id(id);
  return command;
}

inline std::string node_id(uint32_t ordinal) { return node_id_of(kInstance, ordinal).str(); }

// Nodes `first`, `first + 1`, … on host-a, host-b, …, port 5432.
inline Command place(uint32_t first, uint32_t count) {
  Command command;
  for (uint32_t i = first; i < first + count; ++i) {
    auto& node = *command.mutable_place_nodes()->add_nodes();
    node.set_node_id(node_id(i));
    const std::string letter(1, static_cast<char>('a' + i));
    node.mutable_address()->set_host("host-" + letter);
    node.mutable_address()->set_zone(letter);
    node.mutable_address()->set_address("127.0.0." + std::to_string(i + 1));
    node.mutable_address()->set_port(5432);
  }
  return command;
}
inline Command node_created(uint32_t ordinal, uint64_t generation) {
  Command command;
  command.mutable_record_node_created()->set_node_id(node_id(ordinal));
  command.mutable_record_node_created()->set_generation(generation);
  return command;
}
inline Command start_removal(uint32_t ordinal, std::string_view why = kScaledDown) {
  Command command;
  command.mutable_start_node_removal()->set_node_id(node_id(ordinal));
  command.mutable_start_node_removal()->set_why(std::string(why));
  return command;
}
inline Command node_removed(uint32_t ordinal) {
  Command command;
  command.mutable_record_node_removed()->set_node_id(node_id(ordinal));
  return command;
}
inline Command settled(const std::vector<uint32_t>& ordinals, uint32_t sync) {
  Command command;
  auto& c = *command.mutable_record_group_settled();
  for (uint32_t i : ordinals) c.add_node_ids(node_id(i));
  c.set_sync_replica_number(sync);
  return command;
}
inline Command step_failed(const std::string& step, const std::string& code) {
  Command command;
  auto& c = *command.mutable_record_step_failed();
  c.set_step(step);
  c.mutable_failure()->set_code(code);
  c.mutable_failure()->set_message("because of " + code);
  return command;
}
inline Command record_writes(const std::string& why) {
  Command command;
  command.mutable_record_writes()->set_why(why);
  return command;
}
inline Command objects_applied(uint64_t version) {
  Command command;
  command.mutable_record_objects_applied()->set_objects_version(version);
  return command;
}
inline void add_failure(Command& command, const std::string& id, const std::string& code) {
  auto& failure = *command.mutable_record_objects_applied()->add_failures();
  failure.set_object_id(id);
  failure.mutable_failure()->set_code(code);
  failure.mutable_failure()->set_message("because of " + code);
}

// A scene whose clock advances by one second an event.
class Scene : public trunkline::testing::Scenario<InstanceState, Event> {
 public:
  Scene()
      : Scenario(InstanceState(kInstance), [](InstanceState& state, const Event& event) {
          evolve(state, event, kStart + seconds(state.version));
        }) {}

  Scene& when(const Command& command, const InstanceFacts& facts = offered()) {
    Scenario::when([&](const InstanceState& state) {
      return decide(state, command, facts, kStart + seconds(state.version) + milliseconds(500));
    });
    return *this;
  }
  // The command must be accepted.
  Scene& after(const Command& command) {
    when(command);
    EXPECT_TRUE(std::holds_alternative<std::vector<Event>>(decision())) 
        << trunkline::testing::describe(decision());
    return *this;
  }
  Scene& after_order(uint32_t nodes, uint32_t sync) { return after(create(nodes, sync)); }
  Scene& after_created(uint32_t nodes, uint32_t sync) {
    after_order(nodes, sync).after(place(0, nodes));
    for (uint32_t i = 0; i < nodes; ++i) {
      after(node_created(i, state().nodes[i].ensure_generation));
    }
    return *this;
  }
  Scene& after_active(uint32_t nodes, uint32_t sync) {
    after_created(nodes, sync);
    std::vector<uint32_t> all;
    for (uint32_t i = 0; i < nodes; ++i) all.push_back(i);
    return after(settled(all, sync));
  }
  Scene& after_error() { return after_order(1, 0).after(step_failed("placing", "no_capacity")); }
};

}  // namespace trunkline::provisioner::testing
