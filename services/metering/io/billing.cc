#include "metering/io/billing.h"

#include <mutex>
#include <nlohmann/json.hpp>

#include "metering/io/billing_catalog.h"
#include "metering/io/query_service.h"
#include "metering/io/webhook_address.h"
#include "metering/io/webhook_sender.h"
#include "metering/io/webhook_store.h"

namespace trunkline::metering {
namespace {

WebhookSender::Options sender_options(const nlohmann::json& config, const std::string& usage_dsn,
                                      std::function<bool()> delivers) {
  WebhookSender::Options options;
  options.usage_dsn = usage_dsn;
  options.master_secret = config.value("webhook_master_secret", std::string());
  options.allow_http = config.value("webhook_allow_http", false);
  options.policy.first_pause =
      milliseconds(config.value("webhook_first_pause_ms", int64_t{1'000}));
  options.transport.allowed = ip_ranges(config.value("webhook_allow", std::vector<std::string>()));
  options.transport.ca_file = config.value("webhook_ca_file", std::string());
  options.transport.timeout = milliseconds(config.value("webhook_timeout_ms", int64_t{15'000}));
  options.origin.source = config.value("event_source", std::string("/trunkline/local"));
  options.origin.data_schema = config.value("event_schema", std::string());
  // Nothing that is not signed goes out.
  const bool has_secret = !options.master_secret.empty();
  options.is_ours = [has_secret, delivers = std::move(delivers)] {
    return has_secret && delivers();
  };
  return options;
}

}  // namespace

struct Billing::Parts {
  std::mutex mutex;
  WebhookSender* woken = nullptr;
  std::unique_ptr<BillingCatalog> catalog;
  std::unique_ptr<WebhookSender> sender;
  std::unique_ptr<QueryService> queries;
};

Billing::Billing(bus::Bus& bus, const runtime::ServiceConfig& config,
                 std::function<bool()> delivers)
    : parts_(std::make_unique<Parts>()) {
  const auto& raw = *config.raw;
  const std::string usage_dsn = raw.value("metering_dsn", std::string());
  curl_global_init(CURL_GLOBAL_DEFAULT);
  BillingCatalog::Options catalog;
  catalog.log_dsn = config.log_dsn;
  catalog.webhook_facts.allow_http = raw.value("webhook_allow_http", false);
  catalog.webhook_facts.may_reach =
      [allowed = ip_ranges(raw.value("webhook_allow", std::vector<std::string>()))](
          std::string_view host) { return may_reach_host(host, allowed); };
  catalog.on_change = [parts = parts_.get()] {
    const std::lock_guard lock(parts->mutex);
    if (parts->woken != nullptr) parts->woken->wake();
  };
  parts_->catalog = std::make_unique<BillingCatalog>(bus, std::move(catalog));
  parts_->sender = std::make_unique<WebhookSender>(
      sender_options(raw, usage_dsn, std::move(delivers)), *parts_->catalog);
  {
    const std::lock_guard lock(parts_->mutex);
    parts_->woken = parts_->sender.get();
  }
  QueryService::Options queries;
  queries.log_dsn = config.log_dsn;
  queries.usage_dsn = usage_dsn;
  queries.deliveries = [usage_dsn](const std::string& webhook_id, uint32_t limit) {
    WebhookStore store(usage_dsn);
    return store.deliveries_json(webhook_id, limit);
  };
  parts_->queries = std::make_unique<QueryService>(bus, std::move(queries), *parts_->catalog);
}

Billing::~Billing() {
  parts_->queries.reset();
  {
    // The catalog calls the sender, and the sender asks the catalog.
    const std::lock_guard lock(parts_->mutex);
    parts_->woken = nullptr;
  }
  parts_->sender.reset();
  parts_->catalog.reset();
}

}  // namespace trunkline::metering
