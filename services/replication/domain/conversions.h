// Between the wire's messages and the domain's values. Field by field, nothing validated.
#pragma once

#include "replication/domain/group_state.h"
#include "trunkline/v1/common.pb.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

inline Address to_address(const v1::NodeAddress& m) {
  return {.host = HostName(m.host()), .zone = m.zone(), .address = m.address(), .port = m.port()};
}
inline v1::NodeAddress to_proto(const Address& address) {
  v1::NodeAddress m;
  m.set_host(address.host.str());
  m.set_zone(address.zone);
  m.set_address(address.address);
  m.set_port(address.port);
  return m;
}

template <class Repeated>
std::vector<TimelineBegin> to_history(const Repeated& history) {
  std::vector<TimelineBegin> out;
  for (const auto& m : history) out.push_back({m.timeline(), m.begin_lsn()});
  return out;
}
template <class Repeated>
void add_history(const std::vector<TimelineBegin>& history, Repeated* out) {
  for (const TimelineBegin& begin : history) {
    auto* m = out->Add();
    m->set_timeline(begin.timeline);
    m->set_begin_lsn(begin.begin_lsn);
  }
}

inline FailoverKind to_kind(v1::FailoverKind kind) {
  if (kind == v1::FAILOVER_KIND_SWITCHOVER) return FailoverKind::switchover;
  if (kind == v1::FAILOVER_KIND_OVERRIDE) return FailoverKind::override_by_operator;
  return FailoverKind::failover;
}
inline v1::FailoverKind to_proto(FailoverKind kind) {
  switch (kind) {
    case FailoverKind::failover:
      return v1::FAILOVER_KIND_FAILOVER;
    case FailoverKind::switchover:
      return v1::FAILOVER_KIND_SWITCHOVER;
    case FailoverKind::override_by_operator:
      return v1::FAILOVER_KIND_OVERRIDE;
  }
  return v1::FAILOVER_KIND_UNSPECIFIED;
}

template <class RepeatedIds>
std::set<NodeId> to_ids(const RepeatedIds& ids) {
  std::set<NodeId> out;
  for (const auto& id : ids) out.insert(NodeId(id));
  return out;
}
template <class Ids, class RepeatedIds>
void add_ids(const Ids& ids, RepeatedIds* out) {
  for (const NodeId& id : ids) *out->Add() = id.str();
}

}  // namespace trunkline::replication
