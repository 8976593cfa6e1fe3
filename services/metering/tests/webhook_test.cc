// Webhooks: where they may lead, and when a record goes again.
#include "metering/domain/webhook.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/webhook_key.h"
#include "metering/domain/webhook_delivery.h"
#include "testing/given_when_then.h"

namespace trunkline::metering {
namespace {

constexpr char kId[] = "11111111-1111-4111-8111-111111111111";
const TimePoint kNow = from_unix_us(1'793'491'200'000'000);

v1::WebhookCommand create(const std::string& url) {
  v1::WebhookCommand command;
  command.mutable_create_webhook()->set_url(url);
  return command;
}
v1::WebhookCommand update(std::optional<bool> enabled, bool rotate = false) {
  v1::WebhookCommand command;
  auto* c = command.mutable_update_webhook();
  if (enabled) c->set_enabled(*enabled);
  c->set_rotate_key(rotate);
  return command;
}
v1::WebhookCommand resend(int64_t from_ms) {
  v1::WebhookCommand command;
  command.mutable_resend_webhook()->set_from_unix_ms(from_ms);
  return command;
}
v1::WebhookCommand remove() {
  v1::WebhookCommand command;
  command.mutable_delete_webhook();
  return command;
}

WebhookState after(const std::vector<v1::WebhookCommand>& commands) {
  WebhookState state(kId);
  for (const auto& command : commands) {
    const auto decision = decide(state, command, {}, kNow);
    for (const auto& event : std::get<std::vector<v1::WebhookEvent>>(decision)) {
      evolve(state, event, kNow);
    }
  }
  return state;
}
std::string verdict(const WebhookState& state, const v1::WebhookCommand& command) {
  return testing::outline(decide(state, command, {}, kNow));
}

TEST(Webhook, WhereItMayLead) {
  const auto rule = [](const char* url, bool allow_http = false) {
    const auto rejection = check_webhook_url(url, {allow_http, {}});
    return rejection ? rejection->rule : std::string();
  };
  for (const char* good :
       {"https://example.com", "https://example.com:8443/a?b=c", "https://10.0.0.1/",
        "https://[2001:db8::1]:444/x", "http://127.0.0.1:80/", "http://127.9.9.9/",
        "http://localhost:9999/x", "http://[::1]:80/"}) {
    EXPECT_EQ(rule(good), "") << good;
  }
  for (const char* refused : {"http://example.com/", "http://127.0.0.1.example.com/",
                              "http://128.0.0.1/", "http://169.254.169.254/", "http://0.0.0.0/",
                              "http://localhost.example/", "http://127.1/"}) {
    EXPECT_EQ(rule(refused), "url_not_allowed") << refused;
    EXPECT_EQ(rule(refused, true), "") << refused;
  }
  for (const char* bad :
       {"", "example.com", "ftp://example.com/", "file:///etc/passwd", "https://", "https:///x",
        "https://user:secret@example.com/", "https://example.com/#x", "https://example.com:0/",
        "https://example.com:99999/", "https://exa mple.com/", "https://example.com\\@evil/",
        "https://example.com:/", "HTTPS://example.com/", "http://127.0.0.1@example.com/",
        "https://ex\nample.com/"}) {
    EXPECT_EQ(rule(bad), "url_malformed") << bad;
  }
}

TEST(Webhook, NotToWhatTheOperatorDoesNotAllow) {
  const WebhookFacts facts{false, [](std::string_view host) { return host != "10.0.0.1"; }};
  EXPECT_FALSE(check_webhook_url("https://example.com/", facts));
  const auto refused = check_webhook_url("https://10.0.0.1:8443/x", facts);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->rule, "url_not_allowed");
  EXPECT_NE(refused->message.find("webhook_allow"), std::string::npos);
}

TEST(Webhook, ItsLife) {
  const auto one = create("https://example.com/");
  const WebhookState made = after({one});
  EXPECT_EQ(made.key_number, 1u);
  EXPECT_TRUE(made.enabled);
  EXPECT_EQ(verdict(made, one), "ignored");
  EXPECT_EQ(verdict(made, create("https://example.org/")), "rejected: uuid_in_use (conflict)");
  EXPECT_EQ(verdict(made, update(true)), "ignored");
  EXPECT_EQ(verdict(made, update(false)), "accepted: webhook_updated");
  EXPECT_EQ(after({one, update({}, true), update({}, true)}).key_number, 3u);
  EXPECT_FALSE(after({one, update(false)}).enabled);
  const int64_t now_ms = to_unix_us(kNow) / 1000;
  EXPECT_EQ(verdict(made, resend(now_ms)), "accepted: webhook_resend_requested");
  EXPECT_EQ(verdict(made, resend(now_ms + 1)), "rejected: from_in_future (bad_value)");
  const WebhookState again = after({one, update({}, true), resend(5)});
  EXPECT_EQ(again.resend_version, 3u);
  EXPECT_EQ(again.resend_from_ms, 5);
  const WebhookState gone = after({one, remove()});
  for (const auto& command : {remove(), update(false), resend(0)}) {
    EXPECT_EQ(verdict(gone, command), "rejected: webhook_not_found (not_found)");
    EXPECT_EQ(verdict(WebhookState(kId), command), "rejected: webhook_not_found (not_found)");
  }
  EXPECT_EQ(verdict(gone, one), "rejected: uuid_in_use (conflict)");
}

TEST(WebhookDelivery, WhatAnAnswerMeans) {
  using V = DeliveryVerdict;
  const DeliveryPolicy policy;
  const auto verdict_of = [&](int status) {
    DeliveryTries tries;
    return judge(policy, {status, "", {}}, kNow, 0, &tries);
  };
  for (const int status : {200, 201, 202, 204}) EXPECT_EQ(verdict_of(status), V::delivered);
  for (const int status : {0, 301, 302, 400, 401, 404, 408, 425, 429, 500, 503}) {
    EXPECT_EQ(verdict_of(status), V::again) << status;
  }
  EXPECT_EQ(verdict_of(410), V::disabled);
}

TEST(WebhookDelivery, ARefusedRecordBlocksOnlyForAFewTries) {
  DeliveryPolicy policy;
  policy.refusals = 3;
  DeliveryTries tries;
  EXPECT_EQ(judge(policy, {400, "", {}}, kNow, 0, &tries), DeliveryVerdict::again);
  EXPECT_EQ(judge(policy, {503, "", {}}, kNow, 0, &tries), DeliveryVerdict::again);
  EXPECT_EQ(judge(policy, {400, "", {}}, kNow, 0, &tries), DeliveryVerdict::again);
  EXPECT_EQ(judge(policy, {400, "", {}}, kNow, 0, &tries), DeliveryVerdict::dead);
  EXPECT_EQ(tries.tries, 0u);
}

TEST(WebhookDelivery, PausesGrowAndEnd) {
  const DeliveryPolicy policy;
  DeliveryTries tries;
  const auto pause = [&](uint32_t random, std::optional<milliseconds> wish = {}) {
    EXPECT_EQ(judge(policy, {503, "", wish}, kNow, random, &tries), DeliveryVerdict::again);
    return std::chrono::duration_cast<milliseconds>(tries.next_at - kNow).count();
  };
  EXPECT_EQ(pause(0), 500);
  EXPECT_EQ(pause(0), 1'000);
  EXPECT_EQ(pause(UINT32_MAX), 3'999);
  EXPECT_EQ(pause(0, seconds(60)), 60'000);
  EXPECT_EQ(pause(0, seconds(1)), 8'000);
  for (int i = 0; i < 20; ++i) pause(0);
  EXPECT_EQ(pause(0), 150'000);
  EXPECT_EQ(pause(UINT32_MAX), 299'999);
  EXPECT_EQ(pause(0, seconds(99'999)), 3'600'000);
  EXPECT_EQ(judge(policy, {503, "", {}}, kNow + std::chrono::hours(72), 0, &tries),
            DeliveryVerdict::dead);
}

TEST(WebhookDelivery, RetryAfter) {
  EXPECT_EQ(parse_retry_after("120"), milliseconds(120'000));
  EXPECT_EQ(parse_retry_after("0"), milliseconds(0));
  for (const char* bad : {"", "-1", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "1.5"}) {
    EXPECT_EQ(parse_retry_after(bad), std::nullopt) << bad;
  }
}

// The example of the Standard Webhooks libraries.
TEST(WebhookDelivery, WhatNeedsAttention) {
  const DeliveryPolicy policy;
  DeliveryTries tries;
  EXPECT_EQ(trouble_of(policy, tries, 0, kNow), "");
  EXPECT_EQ(trouble_of(policy, tries, 1, kNow), "dead_letters");
  tries.tries = 3;
  tries.first_at = kNow - policy.trouble_after + milliseconds(1);
  EXPECT_EQ(trouble_of(policy, tries, 0, kNow), "");
  tries.first_at = kNow - policy.trouble_after;
  EXPECT_EQ(trouble_of(policy, tries, 1, kNow), "receiver_away");
}

TEST(Webhook, TroubleIsRecordedOnceAndEnds) {
  v1::WebhookCommand troubled, other, recovered, forgotten;
  troubled.mutable_record_webhook_trouble()->set_rule("dead_letters");
  troubled.mutable_record_webhook_trouble()->set_why("it answers 400");
  other.mutable_record_webhook_trouble()->set_rule("receiver_away");
  recovered.mutable_record_webhook_recovery();
  forgotten.mutable_forget_dead_letters();
  const auto one = create("https://example.com/");
  EXPECT_EQ(verdict(after({one}), recovered), "ignored");
  const WebhookState state = after({one, troubled});
  EXPECT_EQ(state.trouble, (WebhookTrouble{"dead_letters", "it answers 400", kNow}));
  EXPECT_EQ(state.changed_version, 1u);
  EXPECT_EQ(verdict(state, troubled), "ignored");
  EXPECT_EQ(verdict(state, other), "accepted: webhook_troubled");
  EXPECT_EQ(after({one, troubled, recovered}).trouble, WebhookTrouble());
  EXPECT_EQ(after({one, troubled, forgotten}).forgotten_at, kNow);
  EXPECT_EQ(verdict(WebhookState(kId), troubled), "rejected: webhook_not_found (not_found)");
}

TEST(WebhookKey, SignsAsTheStandardDoes) {
  const std::string key = *unbase64("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
  EXPECT_EQ(webhook_signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1'614'265'330,
                              R"({"test": 2432232314})"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  EXPECT_EQ(webhook_key_text("abc"), "whsec_YWJj");
  EXPECT_NE(webhook_key("master", kId, 1), webhook_key("master", kId, 2));
  EXPECT_NE(webhook_key("master", kId, 1), webhook_key("other", kId, 1));
  EXPECT_EQ(webhook_key("master", kId, 1).size(), 32u);
}

}  // namespace
}  // namespace trunkline::metering
