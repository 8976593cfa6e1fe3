#include <algorithm>

#include "proxy/domain/wire.h"
#include "proxy/io/session.h"

namespace trunkline::proxy {
namespace {

constexpr std::chrono::seconds kAttemptTime{5};
constexpr std::chrono::milliseconds kPause{50};
constexpr std::chrono::milliseconds kLongPause{500};  // a change of the route ends it

std::string not_now() {
  return fatal({kCannotConnectNow, "no server of this instance takes connections now"});
}

// It starts, or it ended while it was asked: another will serve.
bool is_passing(std::string_view sqlstate) {
  return sqlstate == kCannotConnectNow || sqlstate == "57P01" || sqlstate == "57P02";
}

}  // namespace

void Session::take_place(const NodeView& node, const RouteView& route) {
  placed_ = Placed{node.id, route.term, node.primary, user_, endpoint_->name().kind};
}

void Session::leave_place() {
  if (!placed_) return;
  endpoint_->leave(placed_->node);
  placed_.reset();
}

void Session::keep_cancel_target(CancelTarget target) {
  if (cancel_key_) {
    context_.cancel_keys.change(*cancel_key_, std::move(target));
  } else {
    cancel_key_ = context_.cancel_keys.add(std::move(target));
  }
}

Task<void> Session::wait_for_route(SteadyTime until) {
  co_await route_event_.wait(worker_.loop, until);
}

// Tries until `until`; with `bounded_by_state` as long from then on as new connections wait.
Task<std::string> Session::connect_to_node(SteadyTime until, bool bounded_by_state,
                                           NodeSession* out) {
  const SteadyTime begin = until;
  std::vector<NodeId> unreachable;
  struct Waiting {
    std::atomic<uint64_t>& count;
    bool counted = false;
    SharedPlace share;
    ~Waiting() {
      if (counted) --count;
    }
  } waiting{context_.waiting};
  while (true) {
    std::shared_ptr<const RouteView> route;
    const auto node = endpoint_->enter(unreachable, company_, &route);
    if (route->state == RouteView::State::gone) co_return not_now();
    if (bounded_by_state) {
      until = begin + (route->state == RouteView::State::hold ? context_.options.wait_on_hold
                                                              : context_.options.wait_when_down);
    }
    std::string report;
    if (node) {
      take_place(*node, *route);
      const SteadyTime now = std::chrono::steady_clock::now();
      try {
        *out = co_await log_into_node(server_, context_, *node, *keys_, startup_,
                                      std::min(std::max(until, now), now + kAttemptTime));
        keep_cancel_target({out->address, node->port, out->pid, out->secret});
        const Fate fate = fate_of(*endpoint_->route(), *placed_);
        if (fate != Fate::cut && fate != Fate::carry_now) co_return std::string();
      } catch (const NodeRefused& refused) {
        if (!is_passing(refused.sqlstate)) report = refused.report;
      } catch (const Disconnected&) {
        unreachable.push_back(node->id);
      }
      server_.close();
      leave_place();
      if (!report.empty()) co_return report;
    }
    if (std::chrono::steady_clock::now() >= until) co_return not_now();
    if (bounded_by_state && !waiting.counted) {
      waiting.counted = true;
      ++context_.waiting;
      uint64_t share = 0;
      waiting.share = context_.take(context_.waiting_shares, endpoint_->name().instance, &share);
      if (!waiting.share) {
        co_return fatal({"53300", "too many clients of this instance wait for its server: its "
                                  "share of all that may wait is " + std::to_string(share)});
      }
    }
    pause_client();
    const bool again_soon = node || !unreachable.empty();
    if (!node) unreachable.clear();
    const SteadyTime now = std::chrono::steady_clock::now();
    co_await wait_for_route(std::min(until, now + (again_soon ? kPause : kLongPause)));
  }
}

}  // namespace trunkline::proxy
