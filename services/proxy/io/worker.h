// One loop with its sessions. All but post() belongs to the loop's thread.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "proxy/io/loop.h"
#include "proxy/io/proxy_context.h"

namespace trunkline::proxy {

class Session;

struct ClientPeer {
  int fd = -1;
  bool loopback = false;
  PeerAddress address = 0;
};

class Worker {
 public:
  explicit Worker(ProxyContext& context);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void take(ClientPeer peer, Entrance entrance);
  void route_changed(const InstanceId& instance);

  // For sessions.
  using EndpointSessions = std::list<Session*>;
  EndpointSessions::iterator enroll(const Endpoint& endpoint, Session* session);
  void unroll(const Endpoint& endpoint, EndpointSessions::iterator place);
  void bury(Session* session);  // destroys it after this round

  Loop loop;
  ProxyContext& context;
  std::atomic<uint64_t> load = 0;  // sessions

 private:
  std::unordered_map<Session*, std::unique_ptr<Session>> sessions_;
  std::map<InstanceId, EndpointSessions> by_instance_;
};

}  // namespace trunkline::proxy
