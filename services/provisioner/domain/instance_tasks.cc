#include "provisioner/domain/instance_tasks.h"

#include "provisioner/domain/conversions.h"

namespace trunkline::provisioner {
namespace {

v1::Task task_for(const InstanceId& instance, const NodeId& node, const std::string& what) {
  v1::Task task;
  task.set_task_id(node.str() + "/" + what);
  task.set_instance_id(instance.str());
  task.set_node_id(node.str());
  return task;
}

}  // namespace

v1::Task ensure_task(const InstanceState& state, const Node& node) {
  const uint64_t generation = node.ensure_generation;
  v1::Task task = task_for(state.id, node.id, "ensure/" + std::to_string(generation));
  auto& ensure = *task.mutable_ensure_node();
  ensure.set_generation(generation);
  ensure.set_image(state.spec.image);
  *ensure.mutable_size() = to_proto(state.spec.size);
  *ensure.mutable_address() = to_proto(node.address);
  return task;
}

v1::Task remove_task(const InstanceId& instance, const NodeId& node) {
  v1::Task task = task_for(instance, node, "remove");
  task.mutable_remove_node();
  return task;
}

v1::Task quarantine_task(const InstanceId& instance, const NodeId& node) {
  v1::Task task = task_for(instance, node, "quarantine");
  task.mutable_quarantine_node()->set_why("the log does not know the node");
  return task;
}

v1::Task objects_task(const InstanceState& state, const NodeId& primary) {
  const uint64_t version = state.objects_version;
  v1::Task task = task_for(state.id, primary, "objects/" + std::to_string(version));
  auto& objects = *task.mutable_apply_objects();
  objects.set_objects_version(version);
  for (const auto& [id, user] : state.users) {
    auto& managed = *objects.add_users();
    managed.set_user_id(id.str());
    managed.set_name(user.name);
    managed.set_scram_verifier(user.scram_verifier);
  }
  for (const auto& [id, database] : state.databases) {
    auto& managed = *objects.add_databases();
    managed.set_database_id(id.str());
    managed.set_name(database.name);
    managed.set_owner_id(database.owner.str());
    managed.set_anew(database.anew);
    managed.set_locale(database.text.locale);
    managed.set_encoding(database.text.encoding);
    managed.set_icu_locale(database.text.icu_locale);
  }
  for (const Tombstone& dropped : state.dropped_users) objects.add_dropped_user_ids(dropped.id);
  for (const Tombstone& dropped : state.dropped_databases) {
    objects.add_dropped_database_ids(dropped.id);
  }
  return task;
}

bool needs_task(uint64_t generation, const v1::TaskReport& report) {
  return report.generation() < generation ||
         (report.generation() == generation && report.state() == v1::TASK_STATE_NOT_STARTED);
}

}  // namespace trunkline::provisioner
