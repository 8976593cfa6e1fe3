// From HTTP request to reply: finds the route, authenticates, makes the plan (domain/plan.h) and
// carries it out over the bus without ever blocking the thread that it is on. Whatever goes wrong
// inside is 503 with a correlation id. Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "api-gateway/domain/lane.h"
#include "api-gateway/domain/plan.h"
#include "api-gateway/io/access_log.h"
#include "api-gateway/io/command_client.h"
#include "api-gateway/io/docs.h"
#include "api-gateway/io/fair_gate.h"
#include "api-gateway/io/http_server.h"
#include "api-gateway/io/log_follower.h"
#include "api-gateway/io/lookup_client.h"
#include "api-gateway/io/read_cache.h"
#include "api-gateway/io/refusal_counts.h"
#include "api-gateway/io/token_cache.h"
#include "runtime/fair_pool.h"
#include "telemetry/metrics.h"

namespace trunkline::gateway {

struct GatewayOptions {
  std::string swagger_ui_dir;
  bool access_log = true;
  size_t requests_per_token = 512;  // in flight; above: 429
  size_t requests_per_project = 1024;
  std::string webhook_master;       // secret that the keys of webhooks are made from
  LogFollowLimits log_follow;
  // Addresses whose X-Forwarded-For is believed: what terminates TLS.
  std::vector<std::string> trusted_proxies;
  std::chrono::milliseconds refusal_window{60'000};  // see RefusalCounts
};

// Requests under way of each asker: a token, and the project of all its tokens. Thread-safe.
class InFlight {
 public:
  InFlight(size_t most_a_token, size_t most_a_project)
      : most_a_token_(most_a_token), most_a_project_(most_a_project) {}
  // What has too many: "token", "project"; nothing: it is counted until leave().
  const char* enter(const Caller& caller);
  void leave(const Caller& caller);
  size_t total() const { return total_.load(); }

 private:
  const size_t most_a_token_;
  const size_t most_a_project_;
  std::mutex mutex_;
  std::map<std::string, size_t> by_token_;
  std::map<std::string, size_t> by_project_;
  std::atomic<size_t> total_{0};
};

class Gateway : public std::enable_shared_from_this<Gateway> {
 public:
  Gateway(bus::Bus& bus, GatewayOptions options);

  void handle(HttpRequest&& request, std::shared_ptr<Reply> reply);
  // Whether the body of a request is worth waiting for: who asks is known, or need not be.
  void admit(const HttpRequest& head, AdmissionVerdict verdict);

  // Before the bus goes: no more work of its own.
  void stop();
  size_t requests_in_flight() const { return in_flight_.total(); }
  size_t followers() const { return logs_.count(); }

 private:
  friend class Exchange;
  void on_event(const bus::Message& message);
  LookupClient& client_of(Answerer answerer);

  bus::Bus& bus_;
  const GatewayOptions options_;
  LookupClient lookup_;
  LookupClient metering_;
  LookupClient replication_;
  CommandClient commands_;
  LogFollower logs_;
  const std::shared_ptr<TokenCache> tokens_;
  InFlight in_flight_;
  // Of the newest write that was answered here: every later read has it behind it.
  std::atomic<uint64_t> written_position_{0};
  Docs docs_;
  AccessLog access_log_;
  RefusalCounts refusals_;
  const std::shared_ptr<FairGate> command_gate_;
  runtime::FairPool<std::monostate> pool_;
  ReadCache reads_;
  std::unique_ptr<bus::Subscription> events_;
  telemetry::GaugeFamily under_way_{"trunkline_http_requests_in_flight", "Requests under way."};
  telemetry::ScrapeHook hook_{
      [this] { under_way_.set(static_cast<double>(in_flight_.total())); }};
};

}  // namespace trunkline::gateway
