// The webhook aggregate (stream `webhook-<uuid>`): where usage records go by HTTP. Its signing key
// is no part of it: it follows from the platform's webhook master secret, the uuid and the key's
// number. Pure.
//
// Rules: command_empty, uuid_malformed, url_malformed, url_not_allowed, project_id_malformed,
// description_malformed, from_in_future: bad_value; uuid_in_use: conflict; webhook_not_found:
// not_found. The same creation again, an update that changes nothing and trouble that is recorded
// already are Ignored.
#pragma once

#include <functional>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/decision.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {

// What needs somebody's attention; no rule: nothing.
struct WebhookTrouble {
  std::string rule;  // dead_letters, receiver_away
  std::string why;
  TimePoint since;
  bool operator==(const WebhookTrouble&) const = default;
};

struct WebhookState {
  WebhookState() = default;
  explicit WebhookState(std::string uuid) : id(std::move(uuid)) {}

  std::string id;
  uint64_t version = 0;
  uint64_t changed_version = 0;  // of the newest creation or update
  bool created = false;
  bool deleted = false;
  std::string url;
  std::string project_id;      // empty: all
  std::string description;
  bool enabled = false;
  uint32_t key_number = 0;     // from 1
  TimePoint key_since;
  TimePoint created_at;
  TimePoint updated_at;
  uint64_t resend_version = 0;  // version of the newest request to deliver again; 0: none
  int64_t resend_from_ms = 0;
  std::optional<TimePoint> forgotten_at;  // dead letters up to then are dealt with
  WebhookTrouble trouble;
  bool operator==(const WebhookState&) const = default;
};

struct WebhookFacts {
  bool allow_http = false;  // also to other machines
  // Whether deliveries may go to the host, as its text tells; not set: to every one.
  std::function<bool(std::string_view host)> may_reach = {};
};

// Who receives must be reached by https; by http only on this machine, or where it is allowed; and
// at a public address, or one that the operator allows. Why a URL is refused, or nothing.
std::optional<Rejection> check_webhook_url(std::string_view url, const WebhookFacts& facts);

Decision<v1::WebhookEvent> decide(const WebhookState& state, const v1::WebhookCommand& command,
                                  const WebhookFacts& facts, TimePoint now);
void evolve(WebhookState& state, const v1::WebhookEvent& event, TimePoint recorded_at);

}  // namespace trunkline::metering
