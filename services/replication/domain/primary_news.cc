#include "replication/domain/primary_news.h"

#include "replication/domain/conversions.h"

namespace trunkline::replication {

PrimaryKey primary_key(const GroupState& state) {
  return {.term = state.term, .is_open = state.primary_open};
}

std::optional<v1::PrimaryNews> primary_news(const InstanceId& instance, const GroupState& state,
                                            int64_t position) {
  if (!state.ever_open || state.deleting || state.deleted || position <= 0) return std::nullopt;
  v1::PrimaryNews out;
  out.set_instance_id(instance.str());
  out.set_position(static_cast<uint64_t>(position));
  out.set_term(state.term);
  const Member* primary = primary_member(state);
  if (state.primary_open && primary != nullptr) {
    out.set_state(v1::ROUTE_STATE_OPEN);
    out.set_node_id(primary->id.str());
    *out.mutable_address() = to_proto(primary->address);
    return out;
  }
  const bool is_planned = state.failover && state.failover->term == state.term &&
                          state.failover->kind == FailoverKind::switchover;
  out.set_state(is_planned ? v1::ROUTE_STATE_HOLD : v1::ROUTE_STATE_DOWN);
  return out;
}

}  // namespace trunkline::replication
