// Price lists and webhooks as the log has them, and the commands that change them. Every process of
// metering keeps all of them in memory: there are few. Thread-safe; has a thread of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "bus/bus.h"
#include "metering/domain/price_list.h"
#include "metering/domain/webhook.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {

struct BillingView {
  std::map<std::string, PriceListState> price_lists;
  std::map<std::string, WebhookState> webhooks;  // without those that were deleted
};

class BillingCatalog {
 public:
  struct Options {
    std::string log_dsn;
    WebhookFacts webhook_facts;
    std::function<void()> on_change;  // on a thread of this object
  };
  // Returns when what was in the log is known.
  BillingCatalog(bus::Bus& bus, Options options);
  ~BillingCatalog();
  BillingCatalog(const BillingCatalog&) = delete;
  BillingCatalog& operator=(const BillingCatalog&) = delete;

  std::shared_ptr<const BillingView> view() const;
  // Of the log, that the view has at least.
  int64_t position() const;
  // False if the position is not reached in time.
  bool wait_for(int64_t position, std::chrono::milliseconds patience);

  // What metering itself says of a webhook. It is lost if the log is away: who tells looks at the
  // view and tells again.
  void tell(const std::string& webhook_id, const v1::WebhookCommand& command,
            const std::string& why);

  // Position of the newest event of a price list; 0: there is none. Throws
  // eventlog::LogUnavailable.
  int64_t changed_at(const std::string& price_list_id) const;
  // A price list as of a position of the log; without versions if it was not there then.
  // Throws eventlog::LogUnavailable.
  PriceListState price_list_at(const std::string& uuid, int64_t position) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::metering
