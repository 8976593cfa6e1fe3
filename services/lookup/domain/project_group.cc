#include <algorithm>

#include "lookup/domain/project_detail.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::lookup {
namespace {

NodeView* find(InstanceView& view, const std::string& node_id) {
  const auto it = std::find_if(view.nodes.begin(), view.nodes.end(),
                               [&](const NodeView& node) { return node.id == node_id; });
  return it == view.nodes.end() ? nullptr : &*it;
}

bool set(InstanceView& view, const std::string& node_id, NodeRole role, Status status) {
  NodeView* node = find(view, node_id);
  if (node == nullptr) return false;
  node->role = role;
  node->role_status = status;
  return true;
}

// One primary at most: the one before waits for its next role.
bool assign_primary(InstanceView& view, const std::string& node_id) {
  for (NodeView& node : view.nodes) {
    if (node.role == NodeRole::primary && node.id != node_id) {
      node.role = NodeRole::none;
      node.role_status = Status::in_progress;
    }
  }
  return set(view, node_id, NodeRole::primary, Status::in_progress);
}

bool detach(InstanceView& view, const std::string& node_id) {
  return set(view, node_id, NodeRole::none, Status::in_progress);
}

}  // namespace

std::optional<std::string> apply(InstanceView& view, const v1::GroupEvent& event, TimePoint at,
                                 Touched* touched) {
  using Case = v1::GroupEvent::BodyCase;
  bool changed = false;
  switch (event.body_case()) {
    case Case::kPrimaryAssigned:
      changed = assign_primary(view, event.primary_assigned().node_id());
      break;
    case Case::kPrimaryOpened:
      changed = set(view, event.primary_opened().node_id(), NodeRole::primary, Status::active);
      break;
    case Case::kStandbyAssigned:
      changed = set(view, event.standby_assigned().node_id(), NodeRole::standby,
                    Status::in_progress);
      break;
    case Case::kStandbyStreaming:
      changed = set(view, event.standby_streaming().node_id(), NodeRole::standby, Status::active);
      break;
    case Case::kStandbyLost:
      changed = set(view, event.standby_lost().node_id(), NodeRole::standby, Status::in_progress);
      break;
    case Case::kNodeDetached:
      changed = detach(view, event.node_detached().node_id());
      break;
    case Case::kGroupMembershipChanged:
    case Case::kSyncSetAssigned:
    case Case::kSyncSetApplied:
    case Case::kNodeDetachStarted:
    case Case::kGroupSettled:
    case Case::kGroupDeleted:
    case Case::kFailoverStarted:
    case Case::kFailoverBlocked:
      break;
    case Case::BODY_NOT_SET: return "the event is empty";
  }
  if (changed && view.created) {
    view.updated_at = at;
    touch(touched, DocKind::instance, view.id);
  }
  return std::nullopt;
}

}  // namespace trunkline::lookup
