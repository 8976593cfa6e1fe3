// All of metering that is made of usage records, put together: price lists, invoices, answers and
// webhooks. For main.cc.
#pragma once

#include <functional>
#include <memory>

#include "bus/bus.h"
#include "runtime/config.h"

namespace trunkline::metering {

class Billing {
 public:
  // Of the configuration: "log_dsn", "metering_dsn", "event_source", "event_schema",
  // "webhook_master_secret", "webhook_allow_http", "webhook_ca_file", "webhook_first_pause_ms",
  // "webhook_timeout_ms".
  // `delivers`: whether this process sends to webhooks.
  Billing(bus::Bus& bus, const runtime::ServiceConfig& config, std::function<bool()> delivers);
  ~Billing();
  Billing(const Billing&) = delete;
  Billing& operator=(const Billing&) = delete;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace trunkline::metering
