#include "api-gateway/io/gateway.h"

#include <charconv>

#include "api-gateway/io/exchange.h"
#include "bus/streams.h"

namespace trunkline::gateway {
namespace {

// Longer than lookup waits for a position.
constexpr std::chrono::milliseconds kLookupPatience{2'500};
// An invoice may take as long as folding the log does.
constexpr std::chrono::milliseconds kMeteringPatience{60'000};
// Folding one group's stream.
constexpr std::chrono::milliseconds kReplicationPatience{9'000};

}  // namespace

bool InFlight::enter(const std::string& token_id) {
  const std::lock_guard lock(mutex_);
  auto& count = by_token_[token_id];
  if (count >= most_) return false;
  ++count;
  ++total_;
  return true;
}

void InFlight::leave(const std::string& token_id) {
  const std::lock_guard lock(mutex_);
  const auto found = by_token_.find(token_id);
  if (found == by_token_.end()) return;
  if (--found->second == 0) by_token_.erase(found);
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
      in_flight_(options_.requests_per_token),
      docs_(options_.swagger_ui_dir),
      pool_(2, 1024) {
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

void Gateway::stop() {
  events_.reset();
  logs_.stop();
  commands_.stop();
  pool_.stop();
  access_log_.flush();
}

}  // namespace trunkline::gateway
