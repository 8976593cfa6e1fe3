#include "api-gateway/io/gateway.h"

#include <charconv>

#include "api-gateway/domain/origin.h"
#include "api-gateway/domain/target.h"
#include "api-gateway/io/answers.h"
#include "api-gateway/io/exchange.h"
#include "bus/streams.h"
#include "runtime/random.h"

namespace trunkline::gateway {
namespace {

// Longer than lookup waits for a position.
constexpr std::chrono::milliseconds kLookupPatience{2'500};
// An invoice may take as long as folding the log does.
constexpr std::chrono::milliseconds kMeteringPatience{60'000};
// Of one project at the services; the others wait here.
constexpr size_t kCommandsAtOnce = 32;
// Keys from passwords: a thread is left for another project.
constexpr size_t kHashThreads = 2;
// Folding one group's stream.
constexpr std::chrono::milliseconds kReplicationPatience{9'000};

}  // namespace

const char* InFlight::enter(const Caller& caller) {
  const std::lock_guard lock(mutex_);
  const auto count_in = [](const auto& counts, const std::string& key) {
    const auto found = counts.find(key);
    return found == counts.end() ? 0 : found->second;
  };
  if (count_in(by_token_, caller.token_id) >= most_a_token_) return "token";
  if (count_in(by_project_, fair_lane(caller)) >= most_a_project_) return "project";
  ++by_token_[caller.token_id];
  ++by_project_[fair_lane(caller)];
  ++total_;
  return nullptr;
}

void InFlight::leave(const Caller& caller) {
  const std::lock_guard lock(mutex_);
  const auto count_out = [](auto& counts, const std::string& key) {
    const auto found = counts.find(key);
    if (found != counts.end() && --found->second == 0) counts.erase(found);
  };
  count_out(by_token_, caller.token_id);
  count_out(by_project_, fair_lane(caller));
  --total_;
}

Gateway::Gateway(bus::Bus& bus, GatewayOptions options)
    : bus_(bus),
      options_(std::move(options)),
      lookup_(bus, bus::kLookupSubject, kLookupPatience),
      metering_(bus, bus::kMeteringSubject, kMeteringPatience),
      replication_(bus, bus::kReplicationSubject, kReplicationPatience),
      commands_(bus),
      logs_(bus, options_.log_follow),
      tokens_(std::make_shared<TokenCache>(lookup_)),
      in_flight_(options_.requests_per_token, options_.requests_per_project),
      docs_(options_.swagger_ui_dir),
      refusals_(commands_, options_.refusal_window),
      command_gate_(std::make_shared<FairGate>(runtime::FairLimits{
          .waiting = 4096, .waiting_a_lane = 1024, .running_a_lane = kCommandsAtOnce})),
      pool_("passwords", kHashThreads,
            {.waiting = 1024, .waiting_a_lane = 256, .running_a_lane = kHashThreads - 1},
            [] { return std::make_unique<std::monostate>(); }) {
  events_ = bus_.subscribe("tl.evt.>", [this](bus::Message&& message) { on_event(message); });
}

LookupClient& Gateway::client_of(Answerer answerer) {
  switch (answerer) {
    case Answerer::lookup: return lookup_;
    case Answerer::metering: return metering_;
    case Answerer::replication: return replication_;
  }
  return lookup_;
}

void Gateway::on_event(const bus::Message& message) {
  const auto id = message.headers.find("Nats-Msg-Id");
  uint64_t position = 0;
  if (id != message.headers.end()) {
    std::from_chars(id->second.data(), id->second.data() + id->second.size(), position);
  }
  if (message.subject.starts_with("tl.evt.token.")) tokens_->changed(position);
  reads_.changed(message.subject.substr(message.subject.rfind('.') + 1), position);
}

void Gateway::handle(HttpRequest&& request, std::shared_ptr<Reply> reply) {
  std::make_shared<Exchange>(shared_from_this(), std::move(request), std::move(reply))->start();
}

void Gateway::admit(const HttpRequest& head, AdmissionVerdict verdict) {
  const auto segments = path_segments(head.path);
  if (!segments) return verdict(problem_response(segments.problem()));
  const auto matched = match_route(head.method, *segments);
  const auto* match = std::get_if<RouteMatch>(&matched);
  if (match == nullptr) {
    const auto& failure = std::get<RouteFailure>(matched);
    HttpResponse response = problem_response(failure.problem);
    if (!failure.allow.empty()) response.headers.emplace_back("Allow", failure.allow);
    return verdict(std::move(response));
  }
  if (match->route->access == Access::open) return verdict(std::nullopt);
  const auto header = head.header("authorization");
  const auto token = header ? bearer_token(*header) : std::nullopt;
  const std::string address = client_address(head, options_.trusted_proxies);
  const auto refuse = [self = shared_from_this(), address, verdict] {
    self->refusals_.note({}, 401, address);
    verdict(problem_response(no_token()));
  };
  if (!token) return refuse();
  tokens_->authenticate(
      *token, runtime::now(), [verdict, refuse](const TokenCache::Answer& answer) {
        if (answer.kind == TokenCache::Answer::Kind::unknown) return refuse();
        verdict(std::nullopt);  // what is away is said when the request is whole
      });
}

void Gateway::stop() {
  events_.reset();
  logs_.stop();
  refusals_.stop();
  commands_.stop();
  pool_.stop();
  access_log_.flush();
}

}  // namespace trunkline::gateway
