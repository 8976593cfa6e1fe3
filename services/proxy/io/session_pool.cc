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

const Refusal kBroken{"08P01", "invalid message"};

std::string not_now() {
  return fatal({kCannotConnectNow, "the connection pool of this instance does not come up"});
}

}  // namespace

Task<std::string> Session::connect_to_pool(const Parameters& parameters, NodeSession* out) {
  PoolStartup startup = pool_startup(parameters);
  if (!startup.refusal.sqlstate.empty()) co_return fatal(startup.refusal);
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
    if (state == Pools::State::crowded) {
      co_return fatal({"53300", "as many connection pools run here as may: " +
                                    std::to_string(pools.most()) +
                                    "; use the endpoint's own port"});
    }
    if (state == Pools::State::up) {
      try {
        *out = co_await log_into_node(server_, context_, pool, *keys_, startup.packet, until);
        cancel_watch_ = std::make_shared<CancelWatch>();
        keep_cancel_target({pool.address, pool.port, out->pid, out->secret, cancel_watch_});
        statements_ = std::make_unique<PooledStatements>(endpoint_->statement_texts());
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

// Its pool's connections end with the user, too; who is between two transactions would stay.
bool Session::has_lost_user() const {
  const auto route = endpoint_->route();
  return route->state == RouteView::State::gone ||
         (!route->verifiers.empty() && !route->verifiers.contains(user_));
}

void Session::take_from_pooled(std::string_view bytes) {
  std::string out;
  const size_t taken = statements_->from_client(bytes, out);
  if (statements_->is_broken() || !traffic_.from_client(out)) {
    end_with(kBroken);
    return;
  }
  cancel_watch_->flight = statements_->flight();
  held_.assign(bytes.substr(taken));
  put(to_server_, server_, out);
  if (phase_ == Phase::forwarding) update_wants();
}

// What was held back, as far as it may go on now.
void Session::take_held() {
  if (held_.empty() || !to_server_.empty() || phase_ != Phase::forwarding) return;
  const std::string bytes = std::exchange(held_, {});
  take_from_pooled(bytes);
}

void Session::pass_to_pooled(std::string_view bytes) {
  std::string out;
  statements_->from_pool(bytes, out);
  cancel_watch_->flight = statements_->flight();
  put(to_client_, client_, out);
  if (phase_ == Phase::closed) return;
  if (statements_->is_broken() || statements_->has_ended()) {
    std::string rest = to_client_.bytes.substr(to_client_.at);
    to_client_ = {};
    run(farewell(std::move(rest)));
    return;
  }
  take_held();
}

// Looks at the answer to a pool's reset, which comes alone.
bool Session::fails_to_reset(std::string_view bytes) {
  reset_answer_ += bytes;
  std::string_view rest = reset_answer_;
  while (rest.size() >= kHeader) {
    const size_t size = size_t{get_uint32(rest.data() + 1)} + 1;
    if (rest[0] == 'E') return true;
    if (rest.size() < size) break;
    resetting_ = resetting_ && rest[0] != 'Z';
    rest.remove_prefix(size);
  }
  reset_answer_ = resetting_ ? std::string(rest) : std::string();
  return false;
}

}  // namespace trunkline::proxy
