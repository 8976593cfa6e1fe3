#include "metering/domain/webhook.h"

#include <algorithm>

#include "base/ids.h"

namespace trunkline::metering {
namespace {

using WebhookDecision = Decision<v1::WebhookEvent>;

constexpr size_t kLongestUrl = 2048;
constexpr size_t kLongestDescription = 1024;

Rejection bad_value(std::string rule, std::string message) {
  return reject(RejectionBlame::bad_value, std::move(rule), std::move(message));
}
Rejection malformed(std::string message) { return bad_value("url_malformed", std::move(message)); }

bool is_loopback(std::string_view host) {
  if (host == "localhost" || host == "[::1]") return true;
  int octets = 0;
  std::string_view rest = host;
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view octet = rest.substr(0, dot);
    if (octet.empty() || octet.size() > 3) return false;
    int value = 0;
    for (const char c : octet) {
      if (c < '0' || c > '9') return false;
      value = value * 10 + (c - '0');
    }
    if (value > 255 || (octets == 0 && value != 127)) return false;
    ++octets;
    if (dot == std::string_view::npos) return octets == 4;
    rest.remove_prefix(dot + 1);
  }
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + (c - '0');
  }
  return port >= 1 && port <= 65535;
}

bool is_host(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  const bool bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
  const std::string_view inside = bracketed ? host.substr(1, host.size() - 2) : host;
  return std::ranges::all_of(inside, [bracketed](char c) {
    const bool digit = c >= '0' && c <= '9';
    if (bracketed) return digit || c == ':' || c == '.' || (c >= 'a' && c <= 'f');
    return digit || c == '-' || c == '.' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

std::optional<Rejection> check_text(const std::string& description) {
  const bool good = description.size() <= kLongestDescription &&
                    std::ranges::none_of(description, [](char c) {
                      return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
                    });
  if (good) return std::nullopt;
  return bad_value("description_malformed", "description must be a line of at most 1024 bytes");
}

Rejection webhook_not_found(const WebhookState& state) {
  return reject(RejectionBlame::not_found, "webhook_not_found", "there is no webhook " + state.id);
}

WebhookDecision create(const WebhookState& state, const v1::CreateWebhook& c,
                       const WebhookFacts& facts) {
  const bool same = state.created && !state.deleted && state.url == c.url() &&
                    state.project_id == c.project_id() && state.description == c.description();
  if (same) return ignore("the webhook exists");
  if (state.created) {
    return reject(RejectionBlame::conflict, "uuid_in_use", "uuid " + state.id + " is in use");
  }
  if (!is_uuid(state.id)) return bad_value("uuid_malformed", "uuid must be a UUID");
  if (auto rejection = check_webhook_url(c.url(), facts)) return *rejection;
  if (!c.project_id().empty() && !is_uuid(c.project_id())) {
    return bad_value("project_id_malformed", "project_id must be a UUID");
  }
  if (auto rejection = check_text(c.description())) return *rejection;
  v1::WebhookEvent event;
  auto& e = *event.mutable_webhook_created();
  e.set_url(c.url());
  e.set_project_id(c.project_id());
  e.set_description(c.description());
  return accept(std::vector{std::move(event)});
}

WebhookDecision update(const WebhookState& state, const v1::UpdateWebhook& c,
                       const WebhookFacts& facts) {
  v1::WebhookEvent event;
  auto& e = *event.mutable_webhook_updated();
  bool changes = false;
  if (c.has_url() && c.url() != state.url) {
    if (auto rejection = check_webhook_url(c.url(), facts)) return *rejection;
    e.set_url(c.url());
    changes = true;
  }
  if (c.has_description() && c.description() != state.description) {
    if (auto rejection = check_text(c.description())) return *rejection;
    e.set_description(c.description());
    changes = true;
  }
  if (c.has_enabled() && c.enabled() != state.enabled) {
    e.set_enabled(c.enabled());
    changes = true;
  }
  if (c.rotate_key()) {
    e.set_key_number(state.key_number + 1);
    changes = true;
  }
  if (!changes) return ignore("the webhook is like this already");
  return accept(std::vector{std::move(event)});
}

WebhookDecision resend(const v1::ResendWebhook& c, TimePoint now) {
  if (c.from_unix_ms() * 1000 > to_unix_us(now)) {
    return bad_value("from_in_future", "from must not be in the future");
  }
  v1::WebhookEvent event;
  event.mutable_webhook_resend_requested()->set_from_unix_ms(
      std::max<int64_t>(c.from_unix_ms(), 0));
  return accept(std::vector{std::move(event)});
}

WebhookDecision forget_dead_letters() {
  v1::WebhookEvent event;
  event.mutable_webhook_dead_letters_forgotten();
  return accept(std::vector{std::move(event)});
}

WebhookDecision record_trouble(const WebhookState& state, const v1::RecordWebhookTrouble& c) {
  if (state.trouble.rule == c.rule()) return ignore("this is recorded already");
  v1::WebhookEvent event;
  auto& e = *event.mutable_webhook_troubled();
  e.set_rule(c.rule());
  e.set_why(c.why());
  return accept(std::vector{std::move(event)});
}

WebhookDecision record_recovery(const WebhookState& state) {
  if (state.trouble.rule.empty()) return ignore("there is no trouble");
  v1::WebhookEvent event;
  event.mutable_webhook_recovered();
  return accept(std::vector{std::move(event)});
}

}  // namespace

std::optional<Rejection> check_webhook_url(std::string_view url, const WebhookFacts& facts) {
  if (url.empty() || url.size() > kLongestUrl) {
    return malformed("url must have 1 to 2048 bytes");
  }
  const bool plain = std::ranges::all_of(url, [](char c) { return c > ' ' && c <= '~'; });
  if (!plain) return malformed("url must be of printable ASCII characters without spaces");
  const bool https = url.starts_with("https://");
  if (!https && !url.starts_with("http://")) return malformed("url must begin with https://");
  std::string_view rest = url.substr(https ? 8 : 7);
  if (rest.find('#') != std::string_view::npos) return malformed("url must have no fragment");
  if (rest.find('\\') != std::string_view::npos) return malformed("url must have no backslash");
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  if (authority.find('@') != std::string_view::npos) {
    return malformed("url must hold no user or password");
  }
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = authority.substr(0, colon);
  if (!is_host(host)) return malformed("url must name a host");
  if (colon != std::string_view::npos && !is_port(authority.substr(colon + 1))) {
    return malformed("url has a port that is none");
  }
  if (!https && !facts.allow_http && !is_loopback(host)) {
    return bad_value("url_not_allowed", "url must be https; http is for this machine only");
  }
  if (facts.may_reach && !facts.may_reach(host)) {
    return bad_value("url_not_allowed", "url leads to " + std::string(host) +
                                            ", which is internal: the operator must allow it "
                                            "(webhook_allow)");
  }
  return std::nullopt;
}

WebhookDecision decide(const WebhookState& state, const v1::WebhookCommand& command,
                       const WebhookFacts& facts, TimePoint now) {
  const auto body = command.body_case();
  if (body == v1::WebhookCommand::kCreateWebhook) {
    return create(state, command.create_webhook(), facts);
  }
  if (body != v1::WebhookCommand::BODY_NOT_SET && (!state.created || state.deleted)) {
    return webhook_not_found(state);
  }
  switch (body) {
    case v1::WebhookCommand::kCreateWebhook: break;
    case v1::WebhookCommand::kUpdateWebhook: return update(state, command.update_webhook(), facts);
    case v1::WebhookCommand::kResendWebhook: return resend(command.resend_webhook(), now);
    case v1::WebhookCommand::kDeleteWebhook: {
      v1::WebhookEvent event;
      event.mutable_webhook_deleted();
      return accept(std::vector{std::move(event)});
    }
    case v1::WebhookCommand::kForgetDeadLetters: return forget_dead_letters();
    case v1::WebhookCommand::kRecordWebhookTrouble:
      return record_trouble(state, command.record_webhook_trouble());
    case v1::WebhookCommand::kRecordWebhookRecovery: return record_recovery(state);
    case v1::WebhookCommand::BODY_NOT_SET: break;
  }
  return bad_value("command_empty", "the command has no body");
}

void evolve(WebhookState& state, const v1::WebhookEvent& event, TimePoint recorded_at) {
  ++state.version;
  switch (event.body_case()) {
    case v1::WebhookEvent::kWebhookCreated: {
      const auto& e = event.webhook_created();
      state.created = true;
      state.enabled = true;
      state.url = e.url();
      state.project_id = e.project_id();
      state.description = e.description();
      state.key_number = 1;
      state.key_since = recorded_at;
      state.created_at = recorded_at;
      state.updated_at = recorded_at;
      state.changed_version = state.version;
      return;
    }
    case v1::WebhookEvent::kWebhookUpdated: {
      const auto& e = event.webhook_updated();
      if (e.has_url()) state.url = e.url();
      if (e.has_description()) state.description = e.description();
      if (e.has_enabled()) state.enabled = e.enabled();
      if (e.key_number() != 0) {
        state.key_number = e.key_number();
        state.key_since = recorded_at;
      }
      state.updated_at = recorded_at;
      state.changed_version = state.version;
      return;
    }
    case v1::WebhookEvent::kWebhookResendRequested:
      state.resend_version = state.version;
      state.resend_from_ms = event.webhook_resend_requested().from_unix_ms();
      return;
    case v1::WebhookEvent::kWebhookDeleted: state.deleted = true; return;
    case v1::WebhookEvent::kWebhookDeadLettersForgotten: state.forgotten_at = recorded_at; return;
    case v1::WebhookEvent::kWebhookTroubled:
      state.trouble = {event.webhook_troubled().rule(), event.webhook_troubled().why(),
                       recorded_at};
      return;
    case v1::WebhookEvent::kWebhookRecovered: state.trouble = {}; return;
    case v1::WebhookEvent::BODY_NOT_SET: return;
  }
}

}  // namespace trunkline::metering
