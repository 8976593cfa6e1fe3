#include "metering/io/webhook_sender.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <random>
#include <thread>
#include <unordered_map>

#include "base/webhook_key.h"
#include "metering/io/usage_reader.h"
#include "metering/io/webhook_store.h"
#include "runtime/random.h"
#include "telemetry/metrics.h"

namespace trunkline::metering {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookEvery{500};
constexpr std::chrono::milliseconds kStoreAway{1'000};
// What the log does not say yet is told again: it may be away.
constexpr std::chrono::seconds kTellAgain{5};
constexpr int kLongestWaitMs = 250;
constexpr size_t kBatch = 100;
// A receiver has this long to learn a new key: until then both sign.
constexpr std::chrono::hours kBothKeys{24};

const char* word_of(DeliveryVerdict verdict) {
  switch (verdict) {
    case DeliveryVerdict::delivered: return "delivered";
    case DeliveryVerdict::again: return "again";
    case DeliveryVerdict::dead: return "dead";
    case DeliveryVerdict::disabled: return "disabled";
  }
  return "";
}

struct Figures {
  telemetry::GaugeFamily webhooks{"trunkline_metering_webhooks",
                                  "Webhooks by whether they deliver.", {"state"}};
  telemetry::GaugeFamily dead_letters{"trunkline_metering_webhook_dead_letters",
                                      "Records that receivers would not take."};
  telemetry::GaugeFamily trying{"trunkline_metering_webhook_trying_seconds",
                                "For how long the record was tried that is tried the longest."};
  telemetry::CounterFamily tries{"trunkline_metering_webhook_tries_total",
                                 "Deliveries that were tried, by what came of them.",
                                 {"outcome"}};
};

}  // namespace

struct WebhookSender::Impl {
  struct Receiver {
    WebhookState webhook;
    DeliveryProgress progress;
    bool is_loaded = false;
    int64_t dead_letters = 0;
    std::string last_answer;  // of a try that failed
    std::optional<TimePoint> forgotten_at;
    uint64_t gone_version = 0;  // of the webhook, whose receiver wants no more
    std::deque<UsageRecord> next;
    Clock::time_point look_at{};
    Clock::time_point tell_at{};
    std::unique_ptr<WebhookRequest> request;  // of next.front()

    bool is_open() const { return webhook.enabled && gone_version != webhook.changed_version; }
  };

  const Options options;
  BillingCatalog& catalog;
  WebhookStore store;
  CURLM* const multi = curl_multi_init();
  std::unordered_map<std::string, Receiver> receivers;
  std::shared_ptr<const BillingView> view;
  bool has_tables = false;
  bool is_tidy = false;
  Clock::time_point store_away_until{};
  std::mt19937 random{std::random_device{}()};
  Figures figures;
  std::atomic<bool> stopping{false};
  std::thread thread;

  Impl(Options o, BillingCatalog& c)
      : options(std::move(o)), catalog(c), store(options.usage_dsn) {}
  ~Impl() {
    receivers.clear();
    curl_multi_cleanup(multi);
  }

  // Takes over what the log says of webhooks.
  void take_view() {
    auto newest = catalog.view();
    if (newest == view) return;
    view = std::move(newest);
    const auto forgotten = std::erase_if(
        receivers, [&](const auto& entry) { return !view->webhooks.contains(entry.first); });
    if (forgotten > 0) is_tidy = false;
    for (const auto& [uuid, webhook] : view->webhooks) {
      Receiver& receiver = receivers[uuid];
      const bool anew = receiver.webhook.url != webhook.url ||
                        receiver.webhook.enabled != webhook.enabled;
      if (receiver.is_loaded && anew) receiver.progress.tries = {};
      receiver.webhook = webhook;
    }
  }

  // Away with what is kept of webhooks that were deleted.
  void tidy() {
    if (is_tidy) return;
    std::vector<std::string> ids;
    for (const auto& [uuid, receiver] : receivers) ids.push_back(uuid);
    store.forget_others(ids);
    is_tidy = true;
  }

  void load(Receiver& receiver) {
    if (!receiver.is_loaded) {
      receiver.progress = store.progress_of(receiver.webhook);
      receiver.dead_letters = store.dead_letters(receiver.webhook.id);
      receiver.is_loaded = true;
    }
    const auto& forgotten_at = receiver.webhook.forgotten_at;
    if (forgotten_at != receiver.forgotten_at && forgotten_at) {
      store.forget_dead_letters(receiver.webhook.id, *forgotten_at);
      receiver.dead_letters = store.dead_letters(receiver.webhook.id);
      receiver.forgotten_at = forgotten_at;
    }
    if (receiver.webhook.resend_version <= receiver.progress.resend_version) return;
    // Only back: what was not yet delivered is not to be left out.
    receiver.progress.cursor = std::min(receiver.progress.cursor,
                                        store.cursor_before(receiver.webhook.resend_from_ms));
    receiver.progress.resend_version = receiver.webhook.resend_version;
    receiver.progress.tries = {};
    receiver.next.clear();
    receiver.look_at = {};
    store.save(receiver.webhook.id, receiver.progress);
  }

  void look(Receiver& receiver) {
    if (!receiver.next.empty() || Clock::now() < receiver.look_at) return;
    auto found = store.next_records(receiver.progress.cursor, receiver.webhook.project_id, kBatch);
    if (!found.records.empty()) {
      receiver.next.assign(std::make_move_iterator(found.records.begin()),
                           std::make_move_iterator(found.records.end()));
      return;
    }
    receiver.look_at = Clock::now() + kLookEvery;
    if (receiver.progress.cursor.position == found.looked_at.position) return;
    receiver.progress.cursor = found.looked_at;
    store.save(receiver.webhook.id, receiver.progress);
  }

  std::vector<std::string> headers_of(const WebhookState& webhook, const std::string& id,
                                      const std::string& body) const {
    const TimePoint now = runtime::now();
    const int64_t timestamp = to_unix_us(now) / 1'000'000;
    const auto sign = [&](uint32_t number) {
      return webhook_signature(webhook_key(options.master_secret, webhook.id, number), id,
                               timestamp, body);
    };
    std::string signatures = sign(webhook.key_number);
    if (webhook.key_number > 1 && now - webhook.key_since < kBothKeys) {
      signatures += " " + sign(webhook.key_number - 1);
    }
    return {std::string("Content-Type: ") + kUsageContentType, "User-Agent: trunkline-webhook/1",
            "webhook-id: " + id, "webhook-timestamp: " + std::to_string(timestamp),
            "webhook-signature: " + signatures};
  }

  void send(Receiver& receiver) {
    if (receiver.next.empty() || receiver.progress.tries.next_at > runtime::now()) return;
    const UsageRecord& record = receiver.next.front();
    std::string body = usage_event(record, options.origin);
    const auto headers = headers_of(receiver.webhook, record.id, body);
    receiver.request = std::make_unique<WebhookRequest>(
        multi, options.transport, receiver.webhook.url, headers, std::move(body));
  }

  void tell(Receiver& receiver, const v1::WebhookCommand& command, const std::string& why) {
    if (Clock::now() < receiver.tell_at) return;
    receiver.tell_at = Clock::now() + kTellAgain;
    catalog.tell(receiver.webhook.id, command, why);
  }

  void disable(Receiver& receiver) {
    v1::WebhookCommand command;
    command.mutable_update_webhook()->set_enabled(false);
    tell(receiver, command, "the receiver answered 410");
  }

  void tell_trouble(Receiver& receiver) {
    const DeliveryTries none;
    const auto rule =
        trouble_of(options.policy, receiver.webhook.enabled ? receiver.progress.tries : none,
                   receiver.dead_letters, runtime::now());
    if (rule == receiver.webhook.trouble.rule) return;
    v1::WebhookCommand command;
    if (rule.empty()) {
      command.mutable_record_webhook_recovery();
    } else {
      auto& trouble = *command.mutable_record_webhook_trouble();
      trouble.set_rule(std::string(rule));
      trouble.set_why(receiver.last_answer);
    }
    tell(receiver, command, std::string(rule));
  }

  void drive(Receiver& receiver) {
    if (receiver.request) return;
    load(receiver);
    tell_trouble(receiver);
    if (!receiver.webhook.enabled) return;
    if (check_webhook_url(receiver.webhook.url, {options.allow_http, {}})) return;
    if (!receiver.is_open()) return disable(receiver);
    look(receiver);
    send(receiver);
  }

  void finish(Receiver& receiver, const DeliveryResult& result) {
    const UsageRecord record = receiver.next.front();
    DeliveryAttempt attempt{record.id,     record.position, runtime::now(),
                            receiver.progress.tries.tries + 1, result.status, result.error,
                            receiver.request->took().count()};
    receiver.request.reset();
    const std::string& id = receiver.webhook.id;
    const auto verdict = judge(options.policy, result, attempt.at, random(),
                               &receiver.progress.tries);
    figures.tries.add({word_of(verdict)});
    if (verdict != DeliveryVerdict::delivered) {
      receiver.last_answer =
          !result.error.empty() ? result.error : "it answers " + std::to_string(result.status);
    }
    switch (verdict) {
      case DeliveryVerdict::delivered:
        if (receiver.dead_letters > 0 && store.unbury(id, record.id)) --receiver.dead_letters;
        break;
      case DeliveryVerdict::again: break;
      case DeliveryVerdict::dead:
        spdlog::warn("webhook {}: record {} is a dead letter, status {}", id, record.id,
                     result.status);
        store.bury(id, attempt);
        receiver.dead_letters = store.dead_letters(id);
        break;
      case DeliveryVerdict::disabled:
        receiver.gone_version = receiver.webhook.changed_version;
        receiver.tell_at = {};
        disable(receiver);
        break;
    }
    const bool done = verdict == DeliveryVerdict::delivered || verdict == DeliveryVerdict::dead;
    if (done) {
      receiver.progress.cursor = {record.position, record.ordinal};
      receiver.next.pop_front();
    }
    store.save(id, receiver.progress);
    store.note(id, attempt);
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      const auto found = std::ranges::find_if(receivers, [&](const auto& entry) {
        return entry.second.request && entry.second.request->handle() == message->easy_handle;
      });
      if (found == receivers.end()) continue;
      guarded([&] { finish(found->second, found->second.request->result(code)); });
    }
  }

  template <class Step>
  void guarded(Step step) {
    try {
      step();
    } catch (const UsageUnavailable& error) {
      spdlog::warn("deliveries wait for the usage database: {}", error.what());
      store_away_until = Clock::now() + kStoreAway;
    } catch (const std::exception& error) {
      spdlog::error("deliveries wait: {}", error.what());
      store_away_until = Clock::now() + kStoreAway;
    }
  }

  void run() {
    while (!stopping) {
      const bool ours = options.is_ours();
      if (!ours) receivers.clear(), view.reset();
      if (ours && Clock::now() >= store_away_until) {
        guarded([&] {
          if (!has_tables) store.make_tables();
          has_tables = true;
          take_view();
          tidy();
          for (auto& [uuid, receiver] : receivers) drive(receiver);
        });
      }
      int running = 0;
      curl_multi_perform(multi, &running);
      collect();
      show();
      curl_multi_poll(multi, nullptr, 0, wait_ms(), nullptr);
    }
  }

  void show() {
    int64_t enabled = 0, dead_letters = 0;
    std::chrono::seconds trying{0};
    for (const auto& [uuid, receiver] : receivers) {
      enabled += receiver.is_open();
      dead_letters += receiver.dead_letters;
      if (!receiver.is_open() || receiver.progress.tries.tries == 0) continue;
      trying = std::max(trying, std::chrono::duration_cast<std::chrono::seconds>(
                                    runtime::now() - receiver.progress.tries.first_at));
    }
    const auto all = static_cast<int64_t>(receivers.size());
    figures.webhooks.set({"enabled"}, static_cast<double>(enabled));
    figures.webhooks.set({"disabled"}, static_cast<double>(all - enabled));
    figures.dead_letters.set(static_cast<double>(dead_letters));
    figures.trying.set(static_cast<double>(trying.count()));
  }

  // Records that are there go out one after the other without a pause.
  int wait_ms() const {
    const bool ready = std::ranges::any_of(receivers, [](const auto& entry) {
      const Receiver& receiver = entry.second;
      return !receiver.request && receiver.is_open() && !receiver.next.empty() &&
             receiver.progress.tries.tries == 0;
    });
    return ready && Clock::now() >= store_away_until ? 0 : kLongestWaitMs;
  }
};

WebhookSender::WebhookSender(Options options, BillingCatalog& catalog)
    : impl_(std::make_unique<Impl>(std::move(options), catalog)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

WebhookSender::~WebhookSender() {
  impl_->stopping = true;
  wake();
  impl_->thread.join();
}

void WebhookSender::wake() { curl_multi_wakeup(impl_->multi); }

}  // namespace trunkline::metering
