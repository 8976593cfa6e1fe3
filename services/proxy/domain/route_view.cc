#include "proxy/domain/route_view.h"

#include <algorithm>

namespace trunkline::proxy {
namespace {

// Standbys further behind are read from only when there is no other.
constexpr int64_t kMostLagBytes = 64 << 20;

RouteView::State state_of(v1::RouteState state) {
  if (state == v1::ROUTE_STATE_OPEN) return RouteView::State::open;
  if (state == v1::ROUTE_STATE_HOLD) return RouteView::State::hold;
  if (state == v1::ROUTE_STATE_GONE) return RouteView::State::gone;
  return RouteView::State::down;
}

bool is_among(const std::vector<NodeId>& nodes, const NodeId& id) {
  return std::find(nodes.begin(), nodes.end(), id) != nodes.end();
}

const NodeView* find(const RouteView& route, const NodeId& id) {
  for (const auto& node : route.nodes) {
    if (node.id == id) return &node;
  }
  return nullptr;
}

// FNV-1a: the same in every proxy.
uint64_t rank_of(const NodeId& node, std::string_view company) {
  uint64_t out = 0xcbf29ce484222325;
  const auto mix = [&out](std::string_view text) {
    for (const char c : text) out = (out ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  };
  mix(company);
  mix(node.str());
  return out;
}

bool is_readable(const NodeView& node, const std::vector<NodeId>& unreachable) {
  return !node.primary && node.serves && !is_among(unreachable, node.id) &&
         node.lag_bytes <= kMostLagBytes;
}

const NodeView* pick_standby(const RouteView& route, const std::vector<NodeId>& unreachable,
                             const std::function<uint64_t(const NodeId&)>& load,
                             std::string_view company) {
  const NodeView* best = nullptr;
  uint64_t best_load = 0;
  for (const auto& node : route.nodes) {
    if (!is_readable(node, unreachable)) continue;
    const uint64_t its = company.empty() ? load(node.id) : rank_of(node.id, company);
    if (best == nullptr || its < best_load) {
      best = &node;
      best_load = its;
    }
  }
  return best;
}

// Of one who reads, and was led to a standby. A server that is a standby still, or is being made
// the primary, is left alone.
Fate fate_of_reader(const RouteView& route, const NodeView* node) {
  if (node == nullptr) return Fate::carry_now;
  if (!node->primary) return Fate::stay;
  if (route.state == RouteView::State::hold) return Fate::carry;
  const bool can_move = std::any_of(route.nodes.begin(), route.nodes.end(),
                                    [](const NodeView& other) { return is_readable(other, {}); });
  return can_move ? Fate::move : Fate::stay;
}

}  // namespace

// Standbys stay as they were: whether they stream from another primary is lookup's to say.
std::optional<v1::Route> with_news(const v1::Route& route, const v1::PrimaryNews& news) {
  const bool is_known = news.position() <= route.position() || news.term() < route.term();
  if (is_known || route.state() == v1::ROUTE_STATE_GONE) return std::nullopt;
  v1::Route out = route;
  out.set_position(news.position());
  out.set_term(news.term());
  out.set_state(news.state());
  const bool is_open = news.state() == v1::ROUTE_STATE_OPEN && !news.node_id().empty();
  v1::RouteNode* primary = nullptr;
  for (auto& node : *out.mutable_nodes()) {
    if (is_open && node.node_id() == news.node_id()) primary = &node;
    if (!node.primary()) continue;
    node.set_primary(false);
    node.set_serves(false);
    node.set_lag_bytes(-1);
  }
  if (!is_open) return out;
  if (primary == nullptr) primary = out.add_nodes();
  primary->set_node_id(news.node_id());
  primary->set_primary(true);
  primary->set_serves(true);
  primary->set_lag_bytes(0);
  *primary->mutable_address() = news.address();
  return out;
}

RouteView route_view(const v1::Route& route, const RouteView* before) {
  RouteView out;
  out.instance = InstanceId(route.instance_id());
  out.position = route.position();
  out.term = route.term();
  out.state = state_of(route.state());
  if (before != nullptr && out.state == RouteView::State::open) {
    out.after_hold = before->state == RouteView::State::hold ||
                     (before->after_hold && before->term == out.term);
  }
  out.read_write_port = static_cast<uint16_t>(route.read_write_port());
  out.read_only_port = static_cast<uint16_t>(route.read_only_port());
  out.connections = route.connections();
  for (const auto& node : route.nodes()) {
    out.nodes.push_back({NodeId(node.node_id()), node.primary(), node.serves(),
                         node.address().host(), node.address().address(),
                         static_cast<uint16_t>(node.address().port()), node.lag_bytes()});
  }
  for (const auto& user : route.users()) out.verifiers[user.name()] = user.scram_verifier();
  return out;
}

const NodeView* pick_node(const RouteView& route, EndpointKind kind,
                          const std::vector<NodeId>& unreachable,
                          const std::function<uint64_t(const NodeId&)>& load,
                          std::string_view company) {
  if (route.state == RouteView::State::gone) return nullptr;
  if (kind == EndpointKind::read_only) {
    const NodeView* standby = pick_standby(route, unreachable, load, company);
    if (standby != nullptr) return standby;
  }
  if (route.state != RouteView::State::open) return nullptr;
  for (const auto& node : route.nodes) {
    if (node.primary && node.serves && !is_among(unreachable, node.id)) return &node;
  }
  return nullptr;
}

Fate fate_of(const RouteView& route, const Placed& placed) {
  if (route.state == RouteView::State::gone) return Fate::cut;
  // A route without any user says nothing of them.
  const bool knows_users = !placed.user.empty() && !route.verifiers.empty();
  if (knows_users && !route.verifiers.contains(placed.user)) return Fate::cut;
  const NodeView* node = find(route, placed.node);
  if (!placed.on_primary) return fate_of_reader(route, node);
  if (route.state == RouteView::State::hold) return Fate::carry;
  const bool serves = node != nullptr && node->primary && node->serves &&
                      route.state == RouteView::State::open && route.term == placed.term;
  if (serves && placed.kind == EndpointKind::read_only) return fate_of_reader(route, node);
  if (serves) return Fate::stay;
  return route.after_hold ? Fate::carry_now : Fate::cut;
}

}  // namespace trunkline::proxy
