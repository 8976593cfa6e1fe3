// A route as a session sees it, and what follows from it for old and new sessions. Pure;
// thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "proxy/domain/startup.h"
#include "trunkline/v1/route.pb.h"

namespace trunkline::proxy {

struct NodeView {
  NodeId id;
  bool primary = false;
  bool serves = false;
  std::string host;     // its name, for TLS
  std::string address;
  uint16_t port = 0;
  int64_t lag_bytes = -1;
};

struct RouteView {
  enum class State { open, hold, down, gone };
  InstanceId instance;
  uint64_t position = 0;
  uint64_t term = 0;
  State state = State::down;
  bool after_hold = false;   // the primary of this term took over as planned
  uint16_t read_write_port = 0;
  uint16_t read_only_port = 0;
  uint32_t connections = 0;  // 0: no limit
  std::vector<NodeView> nodes;
  std::map<std::string, std::string, std::less<>> verifiers;  // by user
};

// The route as it is with what replication says of the primary. Nothing if the route knows that or
// newer already, or the instance is deleted.
std::optional<v1::Route> with_news(const v1::Route& route, const v1::PrimaryNews& news);

// `before` is what was known until now, or null.
RouteView route_view(const v1::Route& route, const RouteView* before);

// The node that a new session belongs on now, or null: wait. `load` counts the sessions of a node;
// `unreachable` were tried in vain. Readers of one `company`, if it has a name, are led to one
// standby, the load notwithstanding: they share what only one server has, such as a snapshot.
const NodeView* pick_node(const RouteView& route, EndpointKind kind,
                          const std::vector<NodeId>& unreachable,
                          const std::function<uint64_t(const NodeId&)>& load,
                          std::string_view company = {});

// Where a session's own server is.
struct Placed {
  NodeId node;
  uint64_t term = 0;
  bool on_primary = false;  // it was the primary when the session was opened
  std::string user;         // a session ends with its user; "": that is not looked at
  EndpointKind kind = EndpointKind::read_write;
};

enum class Fate {
  stay,
  carry,      // to the primary to come, as soon as it is idle
  carry_now,  // if it is idle, else cut
  move,       // to a standby, when it is idle; it may stay until then
  cut,
};
Fate fate_of(const RouteView& route, const Placed& placed);

}  // namespace trunkline::proxy
