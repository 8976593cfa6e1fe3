#include <algorithm>

#include "metering/domain/usage_fold.h"

namespace trunkline::metering {
namespace {

Amounts rate_of(InstanceStatus status) {
  Amounts rate{};
  switch (status) {
    case InstanceStatus::created: at(rate, Meter::seconds_new) = 1; break;
    case InstanceStatus::in_progress: at(rate, Meter::seconds_in_progress) = 1; break;
    case InstanceStatus::active: at(rate, Meter::seconds_active) = 1; break;
    case InstanceStatus::error: at(rate, Meter::seconds_error) = 1; break;
  }
  return rate;
}

Amounts rate_of(const Size& size) {
  Amounts rate{};
  at(rate, Meter::vcpu_seconds) = size.cpu;
  at(rate, Meter::ram_gb_seconds) = size.ram_mb;
  at(rate, Meter::storage_gb_seconds) = size.disk_gb;
  return rate;
}

Size to_size(const v1::NodeSize& size) {
  return {static_cast<int64_t>(size.cpu()), static_cast<int64_t>(size.ram_mb()),
          static_cast<int64_t>(size.disk_gb())};
}

// The newest that was ordered up to this version; the first where there is none.
Size size_at(const InstanceState& instance, uint64_t generation) {
  Size size;
  for (const SizeVersion& ordered : instance.sizes) {
    const bool is_first = &ordered == &instance.sizes.front();
    if (is_first || static_cast<uint64_t>(ordered.version) <= generation) size = ordered.size;
  }
  return size;
}

// One event of an instance that is there.
class InstanceFold {
 public:
  InstanceFold(UsageState& state, InstanceState& instance, const std::string& id, int64_t version,
               int64_t at_ms, UsageChange& change)
      : state_(state), instance_(instance), id_(id), version_(version), at_ms_(at_ms),
        change_(change) {}

  void on(const v1::InstanceRenamed& e) {
    if (!e.has_name()) return;
    instance_.name = e.name();
    change_.instances.insert(id_);
  }
  void on(const v1::InstanceResized& e) {
    instance_.sizes.push_back({version_, to_size(e.size())});
    work_again();
  }
  void on(const v1::InstanceScaled&) {
    work_again();
    count_replacements();
  }
  void on(const v1::InstanceRetried&) { work_again(); }
  void on(const v1::NodePlaced& e) {
    if (NodeState* node = find(e.node_id())) {
      node->host = e.address().host();
    } else if (!state_.instance_of_node.contains(e.node_id())) {
      const auto place = std::lower_bound(
          instance_.nodes.begin(), instance_.nodes.end(), e.node_id(),
          [](const NodeState& other, const std::string& id) { return other.id < id; });
      NodeState placed;
      placed.id = e.node_id();
      placed.host = e.address().host();
      placed.is_replacement = e.is_replacement();
      instance_.nodes.insert(place, std::move(placed));
      state_.instance_of_node[e.node_id()] = id_;
    }
    change_.instances.insert(id_);
    if (instance_.status != InstanceStatus::error) set(InstanceStatus::in_progress);
  }
  void on(const v1::NodeCreated& e) {
    NodeState* node = find(e.node_id());
    if (node == nullptr || node->ended_ms || instance_.ended_ms) return;
    if (!node->created_ms) {
      node->created_ms = at_ms_;
      change_.instances.insert(id_);
    }
    node->generation = e.generation();
    bill(*node);
  }
  void on(const v1::NodeRemovalStarted& e) {
    NodeState* node = find(e.node_id());
    if (node == nullptr) return;
    const bool was_billed = !node->is_replacement && !node->ended_ms;
    end(*node);
    if (was_billed) count_a_replacement();
    if (instance_.status == InstanceStatus::active) set(InstanceStatus::in_progress);
  }
  void on(const v1::NodeRemoved& e) {
    if (NodeState* node = find(e.node_id())) end(*node);
  }
  void on(const v1::InstanceActivated&) {
    set(InstanceStatus::active);
    count_replacements();
  }
  void on(const v1::InstanceFailed&) { set(InstanceStatus::error); }
  void end() {
    if (instance_.ended_ms) return;
    instance_.ended_ms = at_ms_;
    change_rate(instance_.account, Amounts{}, at_ms_);
    for (NodeState& node : instance_.nodes) end(node);
    change_.instances.insert(id_);
  }

 private:
  // What is ordered is billed: a move of a node is not the customer's.
  void bill(NodeState& node) {
    if (node.is_replacement || !node.created_ms || node.ended_ms) return;
    change_rate(node.account, rate_of(size_at(instance_, node.generation)), at_ms_);
  }
  bool count_a_replacement() {
    for (NodeState& node : instance_.nodes) {
      if (!node.is_replacement || node.ended_ms) continue;
      node.is_replacement = false;
      bill(node);
      change_.instances.insert(id_);
      return true;
    }
    return false;
  }
  void count_replacements() {
    while (count_a_replacement()) {
    }
  }
  NodeState* find(const std::string& node_id) {
    const auto found = std::find_if(instance_.nodes.begin(), instance_.nodes.end(),
                                    [&](const NodeState& n) { return n.id == node_id; });
    return found == instance_.nodes.end() ? nullptr : &*found;
  }
  void end(NodeState& node) {
    if (node.ended_ms) return;
    node.ended_ms = at_ms_;
    change_rate(node.account, Amounts{}, at_ms_);
    change_.instances.insert(id_);
  }
  // An instance that has no node yet stays NEW.
  void work_again() {
    if (instance_.status != InstanceStatus::created) set(InstanceStatus::in_progress);
  }
  void set(InstanceStatus status) {
    instance_.status = status;
    if (!instance_.ended_ms) change_rate(instance_.account, rate_of(status), at_ms_);
  }

  UsageState& state_;
  InstanceState& instance_;
  const std::string& id_;
  const int64_t version_;
  const int64_t at_ms_;
  UsageChange& change_;
};

void create(UsageState& state, const std::string& id, int64_t version, int64_t at_ms,
            const v1::InstanceCreated& e, UsageChange& change) {
  const auto [place, is_new] = state.instances.try_emplace(id);
  if (!is_new) return;
  InstanceState& instance = place->second;
  instance.project_id = e.project_id();
  instance.name = e.name();
  instance.created_ms = instance.last_ms = at_ms;
  instance.sizes.push_back({version, to_size(e.size())});
  change_rate(instance.account, rate_of(instance.status), at_ms);
  change.instances.insert(id);
}

}  // namespace

void evolve_instance(UsageState& state, const std::string& instance_id, int64_t version,
                     int64_t at_ms, const v1::InstanceEvent& event, UsageChange& change) {
  using Case = v1::InstanceEvent::BodyCase;
  if (event.body_case() == Case::kInstanceCreated) {
    return create(state, instance_id, version, at_ms, event.instance_created(), change);
  }
  InstanceState* instance = state.find_instance(instance_id);
  if (instance == nullptr) return;
  InstanceFold fold(state, *instance, instance_id, version, at_ms, change);
  switch (event.body_case()) {
    case Case::kInstanceRenamed: return fold.on(event.instance_renamed());
    case Case::kInstanceResized: return fold.on(event.instance_resized());
    case Case::kInstanceScaled: return fold.on(event.instance_scaled());
    case Case::kNodePlaced: return fold.on(event.node_placed());
    case Case::kNodeCreated: return fold.on(event.node_created());
    case Case::kNodeRemovalStarted: return fold.on(event.node_removal_started());
    case Case::kNodeRemoved: return fold.on(event.node_removed());
    case Case::kInstanceRetried: return fold.on(event.instance_retried());
    case Case::kInstanceActivated: return fold.on(event.instance_activated());
    case Case::kInstanceFailed: return fold.on(event.instance_failed());
    case Case::kInstanceDeletionStarted:
    case Case::kInstanceDeleted: return fold.end();
    case Case::kInstanceCreated:
    case Case::kUserCreated:
    case Case::kUserUpdated:
    case Case::kUserActivated:
    case Case::kUserFailed:
    case Case::kUserDeleted:
    case Case::kDatabaseCreated:
    case Case::kDatabaseUpdated:
    case Case::kDatabaseActivated:
    case Case::kDatabaseFailed:
    case Case::kDatabaseDeleted:
    case Case::kObjectsApplied:
    case Case::kObjectNoted:
    case Case::kWritesStopped:
    case Case::kWritesResumed:
    case Case::BODY_NOT_SET: return;
  }
}

}  // namespace trunkline::metering
