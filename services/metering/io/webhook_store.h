// How far each webhook is, its newest tries and its dead letters (schema `webhook` of database
// trunkline_metering), and the records that are next. What is lost of it is delivered again, under
// the same ids. One connection; not thread-safe. Throws UsageUnavailable.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "metering/domain/usage_state.h"
#include "metering/domain/webhook.h"
#include "metering/domain/webhook_delivery.h"

namespace trunkline::metering {

// The last record that was dealt with.
struct DeliveryCursor {
  int64_t position = 0;
  int32_t ordinal = -1;
  auto operator<=>(const DeliveryCursor&) const = default;
};

struct DeliveryProgress {
  DeliveryCursor cursor;
  uint64_t resend_version = 0;  // of the webhook's stream, that the cursor obeys
  DeliveryTries tries;
};

struct DeliveryAttempt {
  std::string record_id;
  int64_t position = 0;
  TimePoint at;
  uint32_t number = 0;
  int status = 0;
  std::string error;
  int64_t duration_ms = 0;
};

class WebhookStore {
 public:
  explicit WebhookStore(std::string dsn);

  void make_tables();
  // Of a webhook that is new here: from its creation on.
  DeliveryProgress progress_of(const WebhookState& webhook);
  void save(const std::string& webhook_id, const DeliveryProgress& progress);
  // Before the first record of a window that ends after `from_ms`.
  DeliveryCursor cursor_before(int64_t from_ms);

  struct Next {
    std::vector<UsageRecord> records;
    DeliveryCursor looked_at;  // there is nothing else up to here
  };
  Next next_records(const DeliveryCursor& after, const std::string& project_id, size_t limit);

  void note(const std::string& webhook_id, const DeliveryAttempt& attempt);
  // A dead letter, until it is delivered after all.
  void bury(const std::string& webhook_id, const DeliveryAttempt& attempt);
  // Whether it was one.
  bool unbury(const std::string& webhook_id, const std::string& record_id);
  int64_t dead_letters(const std::string& webhook_id);
  void forget_dead_letters(const std::string& webhook_id, TimePoint up_to);
  // All that is known of webhooks but these.
  void forget_others(const std::vector<std::string>& webhook_ids);
  std::string deliveries_json(const std::string& webhook_id, uint32_t limit);

 private:
  template <class Work>
  auto ask(Work work);

  const std::string dsn_;
  std::unique_ptr<pqxx::connection> connection_;
};

}  // namespace trunkline::metering
