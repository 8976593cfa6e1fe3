#include "lookup/io/route_board.h"

#include <spdlog/spdlog.h>

#include "base/ids.h"
#include "bus/streams.h"
#include "bus/too_large.h"
#include "lookup/domain/route.h"

namespace trunkline::lookup {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(250);
constexpr int kRoutesPerRead = 500;

Monotonic now() {
  return std::chrono::duration_cast<Monotonic>(
      std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

RouteBoard::RouteBoard(bus::Bus& bus, std::string read_model_dsn)
    : bus_(bus), model_(std::move(read_model_dsn)) {
  bus_.on_reconnect([orders = orders_] { orders->all_again(); });
  send_what_is_due();
  thread_ = std::thread([this] { run(); });
}

RouteBoard::~RouteBoard() {
  {
    const std::lock_guard lock(orders_->mutex);
    orders_->stopping = true;
  }
  orders_->wake.notify_all();
  thread_.join();
}

void RouteBoard::Orders::all_again() {
  {
    const std::lock_guard lock(mutex);
    send_all = true;
    at_once = true;
  }
  wake.notify_all();
}

void RouteBoard::take_change(const Change& change, int64_t position) {
  try {
    for (const Document& document : change.upserts) {
      if (document.key.kind != DocKind::route) continue;
      if (auto route = route_from(document.json)) publish(std::move(*route));
    }
    for (const DocKey& key : change.removals) {
      if (key.kind == DocKind::route) publish(route_gone(key.uuid, position));
    }
  } catch (const bus::BusUnavailable&) {
    orders_->all_again();
  }
}

void RouteBoard::take_report(const v1::HostReport& report) {
  const std::lock_guard lock(watch_mutex_);
  watch_.take(report, now());
}

void RouteBoard::put_live(v1::Route& route) const {
  const std::lock_guard lock(watch_mutex_);
  watch_.put_into(route, now());
}

// A route that cannot be sent at all keeps no other one back.
void RouteBoard::publish(v1::Route&& route) {
  if (route.state() != v1::ROUTE_STATE_GONE) put_live(route);
  try {
    bus_.publish(bus::route_subject(route.instance_id()), route.SerializeAsString());
  } catch (const bus::MessageTooLarge& error) {
    spdlog::error("the proxies do not get the route of {}: {}", route.instance_id(),
                  error.what());
  }
}

void RouteBoard::publish_stored(const std::string& instance_id) {
  if (!is_uuid(instance_id)) return;
  const auto document = model_.load({DocKind::route, instance_id});
  if (!document) return;
  if (auto route = route_from(document->json)) publish(std::move(*route));
}

void RouteBoard::publish_all() {
  std::string after;
  while (true) {
    const std::vector<Document> rows = model_.load_routes(after, kRoutesPerRead);
    for (const Document& row : rows) {
      if (auto route = route_from(row.json)) publish(std::move(*route));
    }
    if (rows.size() < static_cast<size_t>(kRoutesPerRead)) return;
    after = rows.back().key.uuid;
  }
}

void RouteBoard::send_what_is_due() {
  std::set<std::string> changed;
  {
    const std::lock_guard lock(watch_mutex_);
    changed = watch_.changed(now());
  }
  bool all = false;
  {
    const std::lock_guard lock(orders_->mutex);
    std::swap(all, orders_->send_all);
  }
  try {
    if (all) publish_all();
    for (const std::string& instance : changed) publish_stored(instance);
  } catch (const std::exception& error) {
    {
      const std::lock_guard lock(orders_->mutex);
      orders_->send_all = true;
    }
    spdlog::debug("routes are sent again later: {}", error.what());
  }
}

void RouteBoard::run() {
  while (true) {
    {
      std::unique_lock lock(orders_->mutex);
      orders_->wake.wait_for(lock, kLookEvery,
                             [&] { return orders_->stopping || orders_->at_once; });
      if (orders_->stopping) return;
      orders_->at_once = false;
    }
    send_what_is_due();
  }
}

}  // namespace trunkline::lookup
