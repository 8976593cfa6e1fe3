// Answers `tl.query.metering`: usage, invoices, price lists, webhooks. Thread-safe; has threads of
// its own, each with its connections.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bus/bus.h"
#include "metering/io/billing_catalog.h"
#include "metering/io/invoice_maker.h"
#include "metering/io/usage_reader.h"
#include "metering/io/usage_trace.h"
#include "runtime/fair_pool.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::metering {

class QueryService {
 public:
  struct Options {
    std::string log_dsn;
    std::string usage_dsn;
    size_t threads = 3;  // for what reads the database; what is in memory has one of its own
    // The newest tries and the dead letters of a webhook, as JSON.
    std::function<std::string(const std::string& webhook_id, uint32_t limit)> deliveries;
  };
  QueryService(bus::Bus& bus, Options options, BillingCatalog& catalog);

 private:
  struct Own {
    UsageReader reader;
    UsageTrace trace;
  };
  std::unique_ptr<Own> make_own() const;
  void take(bus::Message&& message);
  v1::QueryAnswer traced_answer(Own& own, const v1::Query& query);
  v1::QueryAnswer answer(Own& own, const v1::Query& query);
  v1::QueryAnswer dispatch(Own& own, const v1::Query& query);
  v1::QueryAnswer get(const v1::Query& query);
  v1::QueryAnswer list(const v1::Query& query);
  v1::QueryAnswer usage(Own& own, const v1::Query& query);
  v1::QueryAnswer usage_events(Own& own, const v1::Query& query);
  v1::QueryAnswer invoice(Own& own, const v1::Query& query);
  v1::QueryAnswer deliveries(const v1::Query& query);

  bus::Bus& bus_;
  const Options options_;
  BillingCatalog& catalog_;
  InvoiceMaker invoices_;
  // A question that takes long holds up nobody who asks for a price list, or writes one.
  runtime::FairPool<Own> quick_;
  runtime::FairPool<Own> slow_;
  std::unique_ptr<bus::Subscription> subscription_;
};

}  // namespace trunkline::metering
