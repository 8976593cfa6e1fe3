#include "agent/io/task_codec.h"

#include "base/ids.h"

namespace trunkline::agent {
namespace {

NodeAddress read(const v1::NodeAddress& in) {
  return {in.host(), in.zone(), in.address(), in.port()};
}

EnsureSpec read(const v1::EnsureNode& in) {
  return {in.generation(),
          in.image(),
          {in.size().cpu(), in.size().ram_mb(), in.size().disk_gb()},
          read(in.address())};
}

RoleSpec read(const v1::AssignRole& in) {
  RoleSpec out;
  out.generation = in.generation();
  out.term = in.term();
  if (in.role() == v1::ROLE_PRIMARY) out.role = NodeRole::primary;
  if (in.role() == v1::ROLE_STANDBY) out.role = NodeRole::standby;
  if (in.role() == v1::ROLE_FENCED) out.role = NodeRole::fenced;
  out.upstream_node_id = in.upstream_node_id();
  out.upstream = read(in.upstream());
  out.standby_node_ids.assign(in.standby_node_ids().begin(), in.standby_node_ids().end());
  out.sync_version = in.sync_version();
  out.sync_candidates.assign(in.sync_candidates().begin(), in.sync_candidates().end());
  out.sync_number = in.sync_number();
  out.opened_before = in.opened_before();
  for (const auto& step : in.history()) out.history.push_back({step.timeline(), step.begin_lsn()});
  out.patience_ms = in.patience_ms();
  out.timeline = in.timeline();
  for (const auto& peer : in.peers()) {
    out.peers.push_back({peer.node_id(), peer.host(), peer.address()});
  }
  return out;
}

ObjectsSpec read(const v1::ApplyObjects& in) {
  ObjectsSpec out;
  out.version = in.objects_version();
  for (const auto& user : in.users()) {
    out.users.push_back({user.user_id(), user.name(), user.scram_verifier()});
  }
  for (const auto& database : in.databases()) {
    out.databases.push_back({database.database_id(), database.name(), database.owner_id(),
                             database.anew(), database.locale(), database.encoding(),
                             database.icu_locale()});
  }
  out.dropped_user_ids.assign(in.dropped_user_ids().begin(), in.dropped_user_ids().end());
  out.dropped_database_ids.assign(in.dropped_database_ids().begin(),
                                  in.dropped_database_ids().end());
  return out;
}

template <class Spec>
std::string take(Spec spec, Assignment& out) {
  std::string error = invalid_reason(spec);
  out.body = std::move(spec);
  return error;
}

}  // namespace

std::optional<Assignment> read_task(const v1::Task& task, std::string* node_id,
                                    std::string* error) {
  const auto node = canonical_uuid(task.node_id());
  if (!node) {
    *error = "node_id is not a UUID";
    return std::nullopt;
  }
  *node_id = *node;
  Assignment out;
  if (is_uuid(task.instance_id())) out.instance_id = task.instance_id();
  if (telemetry::is_traceparent(task.traceparent())) out.traceparent = task.traceparent();
  switch (task.body_case()) {
    case v1::Task::kEnsureNode:
      *error = take(read(task.ensure_node()), out);
      break;
    case v1::Task::kRemoveNode:
      out.body = RemoveOrder{};
      break;
    case v1::Task::kQuarantineNode:
      out.body = QuarantineOrder{};
      break;
    case v1::Task::kAssignRole:
      *error = take(read(task.assign_role()), out);
      break;
    case v1::Task::kApplyObjects:
      *error = take(read(task.apply_objects()), out);
      break;
    case v1::Task::kProbeUpstream:
      out.body = ProbeOrder{task.probe_upstream().probe_id()};
      break;
    case v1::Task::kPrepareStop:
      out.body = PrepareOrder{task.prepare_stop().prepare_id()};
      break;
    case v1::Task::BODY_NOT_SET:
      *error = "the task is empty";
      break;
  }
  if (!error->empty()) return std::nullopt;
  return out;
}

}  // namespace trunkline::agent
