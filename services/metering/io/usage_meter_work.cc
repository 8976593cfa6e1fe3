// What the active process does: fold, write, decide, append.
#include <spdlog/spdlog.h>

#include "bus/streams.h"
#include "metering/domain/measure_decide.h"
#include "metering/domain/usage_evolve.h"
#include "metering/domain/usage_snapshot.h"
#include "metering/io/usage_meter_active.h"
#include "metering/io/usage_rebuild.h"
#include "runtime/random.h"

namespace trunkline::metering {
namespace {

using eventlog::RecordedEvent;
constexpr char kActor[] = "service:metering";
constexpr int64_t kEventsUnwritten = 5'000;
constexpr int64_t kWriteEveryMs = 5'000;
constexpr int64_t kEventsASnapshot = 500;

int64_t monotonic_ms() { return to_unix_us(runtime::monotonic_now()) / 1000; }

const char* type_of(const v1::UsageEvent& event) {
  return event.has_usage_window_closed() ? "usage_window_closed" : "usage_measured";
}

}  // namespace

void UsageMeter::take(Active& active, const std::vector<RecordedEvent>& batch) {
  const std::lock_guard lock(mutex_);
  if (active.is_broken) throw StoreUnavailable("metering begins anew");
  for (const RecordedEvent& event : batch) {
    if (event.position <= active.folded.position) continue;
    if (is_folded(event.stream)) {
      if (const auto error = evolve(active.state, as_log_event(event), active.change)) {
        spdlog::error("event {} of {} is passed over: {}", event.position, event.stream, *error);
        active.poison.push_back({event.position, event.stream, *error});
      }
    }
    active.folded = {event.position, event.hash};
    ++active.events_unwritten;
  }
  write(active, false);
}

// Most events change no row: then the checkpoint may be a little behind.
void UsageMeter::write(Active& active, bool at_once) {
  const bool is_changed = !active.change.records.empty() || !active.change.instances.empty() ||
                          !active.poison.empty();
  const bool is_time = active.events_unwritten >= kEventsUnwritten ||
                       monotonic_ms() - active.written_ms >= kWriteEveryMs;
  if (active.folded == active.written || !(is_changed || is_time || at_once)) return;
  try {
    active.store.apply(active.state, active.change, active.poison, active.written, active.folded);
  } catch (...) {
    active.is_broken = true;
    throw;
  }
  const bool has_records = !active.change.records.empty();
  active.written = active.folded;
  active.written_ms = monotonic_ms();
  active.events_unwritten = 0;
  active.change = {};
  active.poison.clear();
  position_ = active.written.position;
  if (has_records && options_.on_records) options_.on_records();
}

void UsageMeter::tick(Active& active) {
  const int64_t now_ms = active.probe.now_ms();
  for (const Due& due : decide(active, now_ms)) append(active, due);
  maintain(active, now_ms);
}

std::vector<UsageMeter::Due> UsageMeter::decide(Active& active, int64_t now_ms) {
  const std::scoped_lock lock(mutex_, book_mutex_);
  if (active.is_broken) throw StoreUnavailable("the projection cannot be written");
  std::vector<Due> all;
  const auto is_awaited = [&](const std::string& uuid, int64_t version) {
    const auto found = active.awaited.find(uuid);
    return found != active.awaited.end() && version < found->second;
  };
  const int64_t end_ms = window_end(options_.rules, now_ms);
  for (const auto& [uuid, heard] : book_.sources()) {
    const auto source = active.state.sources.find(uuid);
    Due due{uuid, source == active.state.sources.end() ? 0 : source->second.version, {}};
    auto& looked_at = active.looked_at[uuid];
    if (is_awaited(uuid, due.version) || looked_at == std::pair(end_ms, heard.messages)) continue;
    for (v1::UsageMeasured& measured : decide_measure(active.state, heard, end_ms)) {
      due.events.emplace_back().mutable_usage_measured()->Swap(&measured);
    }
    if (due.events.empty()) {
      looked_at = {end_ms, heard.messages};
    } else {
      all.push_back(std::move(due));
    }
  }
  const std::string windows = windows_stream_uuid();
  const int64_t version = active.state.windows_version;
  if (!is_awaited(windows, version)) {
    if (const auto closed = decide_close(active.state, options_.rules, now_ms)) {
      Due due{windows, version, {}};
      *due.events.emplace_back().mutable_usage_window_closed() = *closed;
      all.push_back(std::move(due));
    }
  }
  return all;
}

void UsageMeter::append(Active& active, const Due& due) {
  eventlog::Log::AppendRequest request;
  request.stream = eventlog::stream_name("usage", due.uuid);
  request.expected_version = due.version;
  request.metadata.command_id = runtime::new_uuid();
  request.metadata.actor = kActor;
  request.record_result = false;
  for (const v1::UsageEvent& event : due.events) {
    request.events.push_back({type_of(event), 1, event.SerializeAsString()});
  }
  const auto outcome = active.log.append(request);
  {
    const std::scoped_lock lock(mutex_, book_mutex_);
    active.awaited[due.uuid] =
        due.version + (outcome.appended ? static_cast<int64_t>(due.events.size()) : 1);
    book_.measured(due.uuid, active.state);
  }
  if (!outcome.appended) return;
  try {
    bus_.publish(bus::kAppendedSubject, "");
  } catch (const bus::BusUnavailable&) {  // the relay looks by itself, a little later
  }
}

void UsageMeter::maintain(Active& active, int64_t now_ms) {
  const int64_t here_ms = monotonic_ms();
  const std::lock_guard lock(mutex_);
  if (active.is_broken) throw StoreUnavailable("the projection cannot be written");
  if (active.snapshot_ms == 0) active.snapshot_ms = here_ms;
  try {
    active.store.forget_before(records_from(now_ms));
    const bool is_due = here_ms - active.snapshot_ms >= options_.snapshot_every_ms &&
                        active.folded.position - active.snapshot_position >= kEventsASnapshot;
    if (!is_due) return;
    write(active, true);
    v1::UsageSnapshot snapshot;
    save(active.state, &snapshot);
    active.store.save({active.written, snapshot.SerializeAsString()});
    active.snapshot_ms = here_ms;
    active.snapshot_position = active.written.position;
  } catch (...) {
    active.is_broken = true;
    throw;
  }
}

}  // namespace trunkline::metering
