#include "proxy/io/worker.h"

#include "proxy/io/session.h"

namespace trunkline::proxy {

Worker::Worker(ProxyContext& shared) : context(shared) {}
Worker::~Worker() = default;

void Worker::take(ClientPeer peer, Entrance entrance) {
  auto session = std::make_unique<Session>(*this, peer, std::move(entrance));
  Session* const raw = session.get();
  sessions_.emplace(raw, std::move(session));
  raw->start();
}

void Worker::route_changed(const InstanceId& instance) {
  const auto found = by_instance_.find(instance);
  if (found == by_instance_.end()) return;
  const std::vector<Session*> sessions(found->second.begin(), found->second.end());
  for (Session* session : sessions) session->on_route_change();
}

Worker::EndpointSessions::iterator Worker::enroll(const Endpoint& endpoint, Session* session) {
  auto& list = by_instance_[endpoint.name().instance];
  return list.insert(list.end(), session);
}

void Worker::unroll(const Endpoint& endpoint, EndpointSessions::iterator place) {
  const auto found = by_instance_.find(endpoint.name().instance);
  found->second.erase(place);
  if (found->second.empty()) by_instance_.erase(found);
}

void Worker::bury(Session* session) {
  loop.defer([this, session] {
    sessions_.erase(session);
    load.fetch_sub(1, std::memory_order_relaxed);
    context.connections.fetch_sub(1, std::memory_order_relaxed);
  });
}

}  // namespace trunkline::proxy
