#include "proxy/io/endpoints.h"

#include "proxy/domain/pool_files.h"

namespace trunkline::proxy {
namespace {

bool take_one(std::atomic<uint64_t>& count, uint64_t most) {
  if (count.fetch_add(1) < most) return true;
  count.fetch_sub(1);
  return false;
}

}  // namespace

std::shared_ptr<const RouteView> Endpoint::route() const {
  const std::lock_guard lock(mutex_);
  return route_;
}

void Endpoint::set_route(std::shared_ptr<const RouteView> route) {
  const std::lock_guard lock(mutex_);
  route_ = std::move(route);
}

bool Endpoint::admit(Way way) {
  const uint32_t connections = route()->connections;
  const PoolLimits pool = pool_limits(connections);
  if (way == Way::pooled) return take_one(pooled_, pool.clients);
  if (way == Way::from_pool && !take_one(from_pool_, pool.servers)) return false;
  if (connections != 0 && !take_one(connected_, connections)) {
    if (way == Way::from_pool) --from_pool_;
    return false;
  }
  if (connections == 0) ++connected_;
  return true;
}

void Endpoint::dismiss(Way way) {
  if (way == Way::pooled) {
    --pooled_;
    return;
  }
  --connected_;
  if (way == Way::from_pool) --from_pool_;
}

std::shared_ptr<const NodeView> Endpoint::enter(const std::vector<NodeId>& unreachable,
                                                std::string_view company,
                                                std::shared_ptr<const RouteView>* seen) {
  const std::lock_guard lock(mutex_);
  *seen = route_;
  const auto load = [this](const NodeId& id) {
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? 0 : found->second;
  };
  const NodeView* node = pick_node(*route_, name_.kind, unreachable, load, company);
  if (node == nullptr) return nullptr;
  ++sessions_[node->id];
  return {route_, node};
}

void Endpoint::leave(const NodeId& node) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(node);
  if (found != sessions_.end() && --found->second == 0) sessions_.erase(found);
}

bool EndpointTable::take(const v1::Route& route) {
  if (!canonical_uuid(route.instance_id())) return false;
  const std::lock_guard taking(taking_);
  return take_next(route);
}

bool EndpointTable::take(const v1::PrimaryNews& news) {
  if (!canonical_uuid(news.instance_id())) return false;
  const std::lock_guard taking(taking_);
  v1::Route known;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(InstanceId(news.instance_id()));
    if (entry == entries_.end()) return false;
    known = entry->second.route;
  }
  const auto next = with_news(known, news);
  return next && take_next(*next);
}

bool EndpointTable::take_next(const v1::Route& route) {
  const InstanceId instance(route.instance_id());
  std::shared_ptr<const RouteView> before;
  std::shared_ptr<const RouteView> view;
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[instance];
    if (entry.read_write) {
      before = entry.read_write->route();
      if (before->position > route.position()) return false;
      // What reports say of standbys changes no position.
      const bool same = before->position == route.position() &&
                        entry.route.SerializeAsString() == route.SerializeAsString();
      if (same) return false;
    } else {
      entry.read_write =
          std::make_shared<Endpoint>(EndpointName{instance, EndpointKind::read_write});
      entry.read_only =
          std::make_shared<Endpoint>(EndpointName{instance, EndpointKind::read_only});
    }
    view = std::make_shared<const RouteView>(route_view(route, before.get()));
    entry.route = route;
    entry.read_write->set_route(view);
    entry.read_only->set_route(view);
  }
  if (changed_) changed_(before.get(), *view);
  return true;
}

std::map<InstanceId, uint64_t> EndpointTable::positions() const {
  std::map<InstanceId, uint64_t> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : entries_) out.emplace(id, entry.route.position());
  return out;
}

bool EndpointTable::keep_listed(const std::set<InstanceId>& listed,
                                const std::map<InstanceId, uint64_t>& before, uint64_t position) {
  const std::lock_guard taking(taking_);
  std::vector<std::pair<std::shared_ptr<const RouteView>, std::shared_ptr<const RouteView>>> gone;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, known_position] : before) {
      const auto entry = entries_.find(id);
      if (entry == entries_.end() || listed.contains(id) || known_position > position ||
          entry->second.route.position() != known_position) {
        continue;
      }
      const auto old = entry->second.read_write->route();
      v1::Route end = entry->second.route;
      end.set_state(v1::ROUTE_STATE_GONE);
      const auto view = std::make_shared<const RouteView>(route_view(end, old.get()));
      entry->second.read_write->set_route(view);
      entry->second.read_only->set_route(view);
      gone.emplace_back(old, view);
      entries_.erase(entry);
    }
  }
  for (const auto& [old, view] : gone) {
    if (changed_ && old->state != RouteView::State::gone) changed_(old.get(), *view);
  }
  return !gone.empty();
}

std::shared_ptr<Endpoint> EndpointTable::find(const EndpointName& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name.instance);
  if (found == entries_.end()) return nullptr;
  const auto& entry = found->second;
  return name.kind == EndpointKind::read_only ? entry.read_only : entry.read_write;
}

v1::Routes EndpointTable::all() const {
  v1::Routes out;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : entries_) *out.add_routes() = entry.route;
  return out;
}

}  // namespace trunkline::proxy
