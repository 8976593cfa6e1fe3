// Chooses hosts and ports for the nodes of one instance. Pure and deterministic: the same fleet
// and needs give the same places.
//
// A host is eligible if it is registered, schedulable, has reported in the last kReportFresh, has
// the image, is not to be avoided and has room. Among the eligible, a node goes to the host with
//   1. the fewest nodes of this instance, 2. in the zone with the fewest nodes of this instance,
//   3. with the most room left (cpu, ram, disk, each as a share of what may be promised there),
//   4. the lower name.
// Of the places found for a new instance its first node, which becomes its first primary, takes the
// one whose host has the fewest primaries: so a host that is lost takes its share of them, no more.
// Nodes of one instance never share a host while there are as many hosts as nodes (full ones
// counted): rather than that, nothing is placed. With fewer hosts than nodes they share; those are
// spread over hosts that are there later, a few instances at a time.
// A port is the lowest one from 5432 upwards that no node on the host has.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "provisioner/domain/fleet.h"
#include "provisioner/domain/instance_state.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::provisioner {

struct Needs {
  InstanceId instance;
  uint32_t first_ordinal = 0;        // of the nodes to place
  uint32_t count = 0;
  Size size;
  std::string image;
  std::vector<HostName> used_hosts;  // one for each node that the instance has and keeps
  std::vector<HostName> avoid;       // that failed a node of this instance
  // Time is up: places are taken that sharing a host makes worse than they need be, and a failure
  // that may pass counts.
  bool last_chance = false;
  bool spreads = false;  // only a host that has none of its nodes is any better; it can wait
};

// Codes: no_hosts, no_schedulable_host, hosts_silent, no_host_for_image, no_capacity. The message
// is for the customer and says how much is missing.
struct NoPlacement {
  FailureNote failure;
  std::string by_host;    // what each host lacks, by name: for administrators
  bool may_pass = false;  // a silent host, or one that has yet to register, may make it possible
};

using PlaceOutcome = std::variant<std::vector<Address>, NoPlacement>;

PlaceOutcome place(const Fleet& fleet, const Needs& needs, TimePoint now);

// Places, reserves and says so as a command: PlaceNodes, or RecordStepFailed if it is impossible.
// Nothing: it may become possible, ask again. Release the reservation if the command is not
// accepted.
std::optional<v1::InstanceCommand> answer_needs(Fleet& fleet, const Needs& needs, TimePoint now);

// Whether an order, or a change of one, can be had now: what it needs is held until set_instance(),
// release() or kReservationLasts. Else what stands against it for good; what may pass does not.
std::optional<NoPlacement> hold_order(Fleet& fleet, const Needs& needs, TimePoint now);
std::optional<NoPlacement> hold_growth(Fleet& fleet, const InstanceState& instance, const Size& to,
                                       uint32_t nodes_number, TimePoint now);

inline constexpr seconds kReservationLasts{15};

}  // namespace trunkline::provisioner
