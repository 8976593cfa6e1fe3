// Delivers usage records to webhooks: in order and one at a time for each, at least once, under the
// record's id. A receiver that is slow or away holds up nobody else. Has a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "metering/domain/usage_event.h"
#include "metering/domain/webhook_delivery.h"
#include "metering/io/billing_catalog.h"
#include "metering/io/webhook_request.h"

namespace trunkline::metering {

class WebhookSender {
 public:
  struct Options {
    std::string usage_dsn;
    std::string master_secret;
    bool allow_http = false;
    DeliveryPolicy policy;
    WebhookTransport transport;
    EventOrigin origin;
    // False: another process delivers.
    std::function<bool()> is_ours = [] { return true; };
  };
  WebhookSender(Options options, BillingCatalog& catalog);
  ~WebhookSender();
  WebhookSender(const WebhookSender&) = delete;
  WebhookSender& operator=(const WebhookSender&) = delete;

  // There may be something new. From any thread.
  void wake();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::metering
