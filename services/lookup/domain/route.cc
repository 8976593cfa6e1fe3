#include "lookup/domain/route.h"

#include <algorithm>

#include "base/digest.h"

namespace trunkline::lookup {
namespace {

// What the agents give PostgreSQL as max_connections.
uint32_t connections_of(uint32_t ram_mb) { return std::clamp<uint32_t>(ram_mb / 10, 50, 5000); }

bool is_open(const NodeView& node) {
  return node.role == NodeRole::primary && node.role_status == Status::active;
}

v1::RouteState state_of(const InstanceView& view) {
  if (view.deleted) return v1::ROUTE_STATE_GONE;
  if (view.failover && view.failover->kind == FailoverKind::switchover) {
    return v1::ROUTE_STATE_HOLD;
  }
  return std::ranges::any_of(view.nodes, is_open) ? v1::ROUTE_STATE_OPEN : v1::ROUTE_STATE_DOWN;
}

// A step that failed on a node (it could not be resized, say) does not keep it from serving.
void put_node(v1::RouteNode& out, const NodeView& node) {
  out.set_node_id(node.id);
  out.set_primary(node.role == NodeRole::primary);
  const bool streams =
      node.role == NodeRole::standby && node.role_status == Status::active && !node.leaving;
  out.set_serves(is_open(node) || streams);
  out.mutable_address()->set_host(node.host);
  out.mutable_address()->set_zone(node.zone);
  out.mutable_address()->set_address(node.address);
  out.mutable_address()->set_port(node.port);
  if (node.role != NodeRole::primary) out.set_lag_bytes(-1);
}

}  // namespace

v1::Route route_of(const InstanceView& view) {
  v1::Route route;
  route.set_instance_id(view.id);
  route.set_position(static_cast<uint64_t>(view.route_position));
  route.set_term(view.term);
  route.set_state(state_of(view));
  if (view.deleted) return route;
  route.set_read_write_port(view.read_write_port);
  route.set_read_only_port(view.read_only_port);
  for (const NodeView& node : view.nodes) put_node(*route.add_nodes(), node);
  for (const UserView& user : view.users) {
    v1::RouteUser& out = *route.add_users();
    out.set_name(user.name);
    out.set_scram_verifier(user.scram_verifier);
  }
  for (const DatabaseView& database : view.databases) route.add_databases(database.name);
  route.set_connections(connections_of(view.ram_mb));
  return route;
}

v1::Route route_gone(const std::string& instance_id, int64_t position) {
  v1::Route route;
  route.set_instance_id(instance_id);
  route.set_position(static_cast<uint64_t>(position));
  route.set_state(v1::ROUTE_STATE_GONE);
  return route;
}

std::string stored_route(const v1::Route& route) {
  return '"' + base64(route.SerializeAsString()) + '"';
}

std::optional<v1::Route> route_from(std::string_view stored) {
  if (stored.size() < 2) return std::nullopt;
  const auto bytes = unbase64(stored.substr(1, stored.size() - 2));
  v1::Route route;
  if (!bytes || !route.ParseFromString(*bytes) || route.instance_id().empty()) {
    return std::nullopt;
  }
  return route;
}

}  // namespace trunkline::lookup
