// Between the wire's small messages and the domain's values. Field by field, nothing validated.
#pragma once

#include "provisioner/domain/instance_state.h"
#include "trunkline/v1/common.pb.h"

namespace trunkline::provisioner {

inline Size to_size(const v1::NodeSize& m) {
  return {.cpu = m.cpu(), .ram_mb = m.ram_mb(), .disk_gb = m.disk_gb()};
}
inline v1::NodeSize to_proto(const Size& size) {
  v1::NodeSize m;
  m.set_cpu(size.cpu);
  m.set_ram_mb(size.ram_mb);
  m.set_disk_gb(size.disk_gb);
  return m;
}

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

inline FailureNote to_failure(const v1::Failure& m) { return {m.code(), m.message()}; }
inline v1::Failure to_proto(const FailureNote& failure) {
  v1::Failure m;
  m.set_code(failure.code);
  m.set_message(failure.message);
  return m;
}

}  // namespace trunkline::provisioner
