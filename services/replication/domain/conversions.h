// Between the wire's messages and the domain's values. Field by field, nothing validated.
#pragma once

#include "replication/domain/group_state.h"
#include "trunkline/v1/common.pb.h"

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
