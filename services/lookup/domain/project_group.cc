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
void unassign_primary(InstanceView& view, const std::string& except) {
  for (NodeView& node : view.nodes) {
    if (node.role == NodeRole::primary && node.id != except) {
      set(view, node.id, NodeRole::none, Status::in_progress);
    }
  }
}

FailoverKind kind_of(const v1::FailoverStarted& e) {
  switch (static_cast<int>(e.kind())) {
    case v1::FAILOVER_KIND_SWITCHOVER: return FailoverKind::switchover;
    case v1::FAILOVER_KIND_OVERRIDE: return FailoverKind::override_;
    default: return FailoverKind::failover;
  }
}

// The functions return whether anything of the instance's document or route is different now.

bool on(InstanceView& view, const v1::FailoverStarted& e, TimePoint at) {
  // One that follows another without a primary between is the same outage, going on.
  const TimePoint since = view.failover ? view.failover->since : at;
  std::string from = e.from_node_id();
  if (from.empty() && view.failover) from = view.failover->from;
  view.refused.reset();
  view.failover = FailoverView{kind_of(e), since, std::move(from), e.reason().rule(),
                               e.reason().why()};
  view.term = std::max(view.term, e.term());
  unassign_primary(view, {});
  return true;
}

std::string primary_of(const InstanceView& view) {
  for (const NodeView& node : view.nodes) {
    if (node.role == NodeRole::primary) return node.id;
  }
  return {};
}

bool on(InstanceView& view, const v1::FailoverBlocked& e, TimePoint at) {
  if (e.term() == 0) {
    const bool was_refused = view.refused.has_value();
    view.refused.reset();
    return was_refused;
  }
  if (!view.failover) {
    const TimePoint since = view.refused ? view.refused->since : at;
    view.refused = FailoverView{FailoverKind::failover, since, primary_of(view), e.reason().rule(),
                                e.reason().why()};
    return true;
  }
  view.failover->rule = e.reason().rule();
  view.failover->why = e.reason().why();
  return true;
}

bool on(InstanceView& view, const v1::PrimaryAssigned& e) {
  view.term = std::max(view.term, e.term());
  if (view.failover) {
    view.failover->rule = e.reason().rule();
    view.failover->why = e.reason().why();
  }
  unassign_primary(view, e.node_id());
  set(view, e.node_id(), NodeRole::primary, Status::in_progress);
  return true;
}

bool on(InstanceView& view, const v1::PrimaryOpened& e) {
  if (e.term() < view.term) return false;
  view.term = e.term();
  view.failover.reset();
  unassign_primary(view, e.node_id());
  set(view, e.node_id(), NodeRole::primary, Status::active);
  return true;
}

}  // namespace

std::optional<std::string> apply(InstanceView& view, const v1::GroupEvent& event, TimePoint at,
                                 Touched* touched) {
  using Case = v1::GroupEvent::BodyCase;
  bool changed = false;
  switch (event.body_case()) {
    case Case::kFailoverStarted: changed = on(view, event.failover_started(), at); break;
    case Case::kFailoverBlocked: changed = on(view, event.failover_blocked(), at); break;
    case Case::kPrimaryAssigned: changed = on(view, event.primary_assigned()); break;
    case Case::kPrimaryOpened: changed = on(view, event.primary_opened()); break;
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
      changed = set(view, event.node_detached().node_id(), NodeRole::none, Status::in_progress);
      break;
    case Case::kGroupMembershipChanged:
    case Case::kSyncSetAssigned:
    case Case::kSyncSetApplied:
    case Case::kNodeDetachStarted:
    case Case::kGroupSettled:
    case Case::kGroupDeleted:
      break;
    case Case::BODY_NOT_SET: return "the event is empty";
  }
  if (changed && view.created) {
    view.updated_at = at;
    touch(touched, DocKind::instance, view.id);
    touch_route(view, touched);
  }
  return std::nullopt;
}

}  // namespace trunkline::lookup
