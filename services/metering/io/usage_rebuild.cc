#include "metering/io/usage_rebuild.h"

#include "eventlog/reader.h"
#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

constexpr size_t kRecordsAWrite = 50'000;

}  // namespace

LogEvent as_log_event(const eventlog::RecordedEvent& event) {
  return {event.position,       event.stream,  event.version,
          event.schema_version, event.payload, event.recorded_at};
}

UsageRebuild::UsageRebuild(std::string log_dsn, const std::string& metering_dsn,
                           int64_t records_from_ms)
    : log_dsn_(std::move(log_dsn)), session_(metering_dsn), store_(session_, kNextUsageSchema) {
  store_.make(records_from_ms);
}

void UsageRebuild::fold_to(int64_t position) {
  if (position <= folded_.position) return;
  eventlog::read_bulk(
      log_dsn_, folded_.position, position, [&](eventlog::RecordedEvent&& event) {
        ++events_;
        folded_ = {event.position, std::move(event.hash)};
        if (!is_folded(event.stream)) return;
        if (const auto error = evolve(state_, as_log_event(event), change_)) {
          poison_.push_back({event.position, event.stream, *error});
        }
        if (change_.records.size() >= kRecordsAWrite) write();
      });
  write();
}

void UsageRebuild::write() {
  if (folded_ == written_) return;
  store_.apply(state_, change_, poison_, written_, folded_);
  records_ += static_cast<int64_t>(change_.records.size());
  written_ = folded_;
  change_ = {};
  poison_.clear();
}

void UsageRebuild::swap() { store_.rename_to(kUsageSchema); }

}  // namespace trunkline::metering
