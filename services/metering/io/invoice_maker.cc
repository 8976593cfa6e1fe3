#include "metering/io/invoice_maker.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "eventlog/reader.h"
#include "metering/domain/usage_evolve.h"
#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

constexpr size_t kKept = 8;
constexpr std::chrono::seconds kPatience{10};
constexpr std::chrono::milliseconds kPause{50};
constexpr std::chrono::seconds kLongestFold{45};  // who asks waits for a minute

std::optional<size_t> segment_of(const std::vector<Segment>& segments, int64_t hour_ms) {
  for (size_t i = 0; i < segments.size(); ++i) {
    if (hour_ms >= segments[i].from_ms && hour_ms < segments[i].to_ms) return i;
  }
  return std::nullopt;
}

}  // namespace

InvoiceMaker::InvoiceMaker(BillingCatalog& catalog, std::string log_dsn)
    : catalog_(catalog), log_dsn_(std::move(log_dsn)) {}

std::shared_ptr<const Invoice> InvoiceMaker::kept(const InvoiceQuestion& question) const {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::ranges::find(kept_, question, [](const auto& entry) { return entry.first; });
  return found == kept_.end() ? nullptr : found->second;
}

void InvoiceMaker::keep(const InvoiceQuestion& question, std::shared_ptr<const Invoice> invoice) {
  const std::lock_guard lock(mutex_);
  kept_.emplace_front(question, std::move(invoice));
  if (kept_.size() > kKept) kept_.pop_back();
}

std::vector<UsedQuantity> InvoiceMaker::from_log(const InvoiceQuestion& question,
                                                 const std::vector<Segment>& segments) const {
  std::map<std::pair<size_t, std::string>, std::array<Int128, kMeters>> amounts;
  UsageState state;
  const auto deadline = std::chrono::steady_clock::now() + kLongestFold;
  uint64_t events = 0;
  eventlog::read_bulk(log_dsn_, 0, question.at_position, [&](eventlog::RecordedEvent&& event) {
    if (++events % 4096 == 0 && std::chrono::steady_clock::now() > deadline) {
      throw UsageTooMuch("this takes too long: the invoice of that position must be folded from "
                         "the log, and there is too much of it");
    }
    if (!is_folded(event.stream)) return;
    UsageChange change;
    evolve(state,
           {event.position, event.stream, event.version, event.schema_version, event.payload,
            event.recorded_at},
           change);
    for (const UsageRecord& record : change.records) {
      if (record.project_id != question.project_id) continue;
      const auto segment = segment_of(segments, aligned(record.window.start_ms, kHourMs));
      if (!segment) continue;
      auto& into = amounts[{*segment, record.instance_id}];
      for (size_t i = 0; i < kMeters; ++i) into[i] += record.amounts[i];
    }
  });
  std::vector<UsedQuantity> out;
  for (const auto& [key, quantities] : amounts) {
    for (size_t i = 0; i < kMeters; ++i) {
      if (quantities[i] == 0) continue;
      out.push_back({key.first, key.second, static_cast<Meter>(i), quantities[i]});
    }
  }
  return out;
}

// Closes alone change what was used: up to the first one that is not in the projection, whatever
// else is in the log, the projection says all.
int64_t InvoiceMaker::folded_position(UsageReader& reader, UsageTrace& trace) const {
  const int64_t seen = catalog_.position();
  const UsageCheckpoint checkpoint = reader.checkpoint();
  const auto next = trace.next_close(checkpoint.closed_position);
  return std::max(checkpoint.position, next && next->position <= seen ? next->position - 1 : seen);
}

// Of all that was written before, price lists alone must be seen: an invoice need not wait for the
// windows that other writes are in.
int64_t InvoiceMaker::needed_position(const InvoiceQuestion& question,
                                      int64_t min_position) const {
  if (question.at_position != 0) return question.at_position;
  int64_t changed = catalog_.changed_at(question.price_list_id);
  if (!question.compare_with_id.empty()) {
    changed = std::max(changed, catalog_.changed_at(question.compare_with_id));
  }
  return std::min(min_position, changed);
}

std::variant<std::shared_ptr<const Invoice>, InvoiceProblem> InvoiceMaker::make(
    const InvoiceQuestion& question, int64_t min_position, UsageReader& reader,
    UsageTrace& trace) {
  const auto month = parse_month(question.month);
  if (!month) return InvoiceProblem::no_month;
  InvoiceQuestion asked = question;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  const int64_t needed = needed_position(question, min_position);
  int64_t folded = folded_position(reader, trace);
  while (folded < needed) {
    if (std::chrono::steady_clock::now() > deadline) return InvoiceProblem::not_yet;
    std::this_thread::sleep_for(kPause);
    folded = folded_position(reader, trace);
  }
  if (asked.at_position == 0) asked.at_position = folded;
  if (auto found = kept(asked)) return found;
  auto invoice = std::make_shared<Invoice>();
  invoice->project_id = asked.project_id;
  invoice->month = asked.month;
  invoice->time = *month;
  invoice->position = asked.at_position;
  invoice->list = catalog_.price_list_at(asked.price_list_id, asked.at_position);
  if (invoice->list.versions.empty()) return InvoiceProblem::no_price_list;
  std::vector<const PriceListState*> lists{&invoice->list};
  if (!asked.compare_with_id.empty()) {
    invoice->compared_list = catalog_.price_list_at(asked.compare_with_id, asked.at_position);
    if (invoice->compared_list->versions.empty()) return InvoiceProblem::no_price_list;
    lists.push_back(&*invoice->compared_list);
  }
  const auto segments = segments_of(lists, month->from_ms, month->to_ms);
  invoice->complete = trace.closed_until(asked.at_position) >= month->to_ms;
  const auto next = trace.next_close(asked.at_position);
  auto sums = reader.sums(asked.project_id, segments, asked.at_position,
                          next ? std::optional(next->recorded_ms) : std::nullopt);
  if (!sums.known) sums.used = from_log(asked, segments);
  invoice->rating = rate(invoice->list, segments, sums.used);
  if (invoice->compared_list) {
    invoice->compared = rate(*invoice->compared_list, segments, sums.used);
  }
  invoice->names = reader.names(asked.project_id);
  keep(asked, invoice);
  return std::shared_ptr<const Invoice>(std::move(invoice));
}

}  // namespace trunkline::metering
