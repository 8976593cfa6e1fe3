// A proxy's own connection to a node, authenticated as a client whose key it knows. Loop's thread.
#pragma once

#include <string>

#include "proxy/domain/route_view.h"
#include "proxy/io/proxy_context.h"
#include "proxy/io/stream.h"

namespace trunkline::proxy {

inline constexpr char kCannotConnectNow[] = "57P03";

// The node answered with an error; `report` is its whole message. `sqlstate` is kCannotConnectNow
// also for one that is closed (agent/keeper/keeper.h).
struct NodeRefused {
  std::string report;
  std::string sqlstate;
};

// What a login to a node needs of its user.
struct LoginKeys {
  std::string client_key;
  std::string stored_key;
  std::string server_key;
  ~LoginKeys();
};

struct NodeSession {
  std::string parameters;  // ParameterStatus messages and notices, for the client
  uint32_t pid = 0;
  uint32_t secret = 0;
  std::string address;  // that it was reached by, for connect_socket()
};

// A socket that connects to `address`, or to the unix socket for `port` in a folder; throws
// Disconnected.
int connect_socket(const std::string& address, uint16_t port);

// Throws NodeRefused, Disconnected, Malformed. Afterwards the stream is at a message's beginning.
Task<NodeSession> log_into_node(Stream& stream, const ProxyContext& context, const NodeView& node,
                                const LoginKeys& keys, const std::string& startup,
                                SteadyTime deadline);

}  // namespace trunkline::proxy
