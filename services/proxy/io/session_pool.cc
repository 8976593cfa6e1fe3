#include "proxy/domain/pool_files.h"
#include "proxy/domain/wire.h"
#include "proxy/io/session.h"

namespace trunkline::proxy {
namespace {

constexpr std::chrono::milliseconds kPause{10};
// A pool that has not read a changed password yet.
constexpr std::chrono::seconds kPatience{3};
// As PgBouncer itself says it, in no other case.
constexpr char kWrongKey[] = "SASL authentication failed";

std::string not_now() {
  return fatal({kCannotConnectNow, "the connection pool of this instance does not come up"});
}

}  // namespace

Task<std::string> Session::connect_to_pool(NodeSession* out) {
  // Its console would let the proxy in as its master.
  if (database_ == kPoolConsole) {
    co_return fatal({"3D000", "a database with this name cannot be reached through the pool"});
  }
  Pools& pools = *context_.pools;
  pool_place_.emplace(pools, endpoint_->name());
  NodeView pool;
  pool.address = pools.folder(endpoint_->name());
  pool.port = kPoolClientPort;
  const SteadyTime begin = std::chrono::steady_clock::now();
  // The pool's own login to the primary may have to wait so long.
  const SteadyTime until = begin + context_.options.wait_on_hold + context_.options.wait_when_down;
  std::string report = not_now();
  pause_client();
  while (std::chrono::steady_clock::now() < until) {
    if (endpoint_->route()->state == RouteView::State::gone) break;
    const Pools::State state = pools.state(endpoint_->name());
    if (state == Pools::State::impossible) {
      co_return fatal({"0A000", "connection pools are not installed here"});
    }
    if (state == Pools::State::up) {
      try {
        *out = co_await log_into_node(server_, context_, pool, *keys_, startup_, until);
        keep_cancel_target({pool.address, pool.port, out->pid, out->secret});
        co_return std::string();
      } catch (const NodeRefused& refused) {
        report = refused.report;
        const auto body = std::string_view(report).substr(kHeader);
        const bool unknown_key = report_field(body, 'M') == kWrongKey;
        if (!unknown_key || std::chrono::steady_clock::now() >= begin + kPatience) co_return report;
      } catch (const Disconnected&) {
        report = not_now();
      }
      server_.close();
    }
    co_await wait_for_route(std::chrono::steady_clock::now() + kPause);
  }
  co_return report;
}

}  // namespace trunkline::proxy
