// Invoices from the projection; as of a position that the projection does not know any more, from
// the log. The newest ones are kept, so that a client can page through what it was shown. Thread-
// safe, but each call needs a reader and a trace of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <variant>

#include "metering/domain/invoice.h"
#include "metering/io/billing_catalog.h"
#include "metering/io/usage_reader.h"
#include "metering/io/usage_trace.h"

namespace trunkline::metering {

struct InvoiceQuestion {
  std::string project_id;
  std::string month;
  std::string price_list_id;
  std::string compare_with_id;  // empty: nothing
  int64_t at_position = 0;      // 0: now
  bool operator==(const InvoiceQuestion&) const = default;
};

enum class InvoiceProblem {
  no_price_list,
  no_month,
  not_yet,  // the projection is behind
};

class InvoiceMaker {
 public:
  InvoiceMaker(BillingCatalog& catalog, std::string log_dsn);

  // Waits, for a while, until the projection has reached what is asked for; of what was written up
  // to `min_position`, the price lists are seen. Throws UsageUnavailable, UsageTooMuch,
  // eventlog::LogUnavailable.
  std::variant<std::shared_ptr<const Invoice>, InvoiceProblem> make(
      const InvoiceQuestion& question, int64_t min_position, UsageReader& reader,
      UsageTrace& trace);

 private:
  int64_t needed_position(const InvoiceQuestion& question, int64_t min_position) const;
  // The newest position that an invoice can be of.
  int64_t folded_position(UsageReader& reader, UsageTrace& trace) const;
  std::shared_ptr<const Invoice> kept(const InvoiceQuestion& question) const;
  void keep(const InvoiceQuestion& question, std::shared_ptr<const Invoice> invoice);
  std::vector<UsedQuantity> from_log(const InvoiceQuestion& question,
                                     const std::vector<Segment>& segments) const;

  BillingCatalog& catalog_;
  const std::string log_dsn_;
  mutable std::mutex mutex_;
  std::deque<std::pair<InvoiceQuestion, std::shared_ptr<const Invoice>>> kept_;
};

}  // namespace trunkline::metering
