#include "agent/domain/node_counters.h"

namespace trunkline::agent {
namespace {

uint64_t grown(const SourceCount& now, SourceCount& mark) {
  if (now.source.empty()) return 0;
  uint64_t delta = 0;
  if (now.source != mark.source) {
    // What ran before the first reading of all belongs to nobody's time.
    delta = mark.source.empty() ? 0 : now.value;
  } else if (now.value > mark.value) {
    delta = now.value - mark.value;
  } else {
    return 0;  // read while a process ended: it catches up
  }
  mark = now;
  return delta;
}

uint64_t transactions_since(const CounterState& state, const ServerReading& now) {
  if (!state.server_seen) return 0;
  const bool all_anew = state.bgwriter_reset != now.bgwriter_reset &&
                        state.archiver_reset != now.archiver_reset;
  uint64_t delta = 0;
  for (const auto& [oid, database] : now.databases) {
    const auto before = state.databases.find(oid);
    const bool goes_on = !all_anew && before != state.databases.end() &&
                         before->second.reset == database.reset &&
                         before->second.count <= database.count;
    delta += goes_on ? database.count - before->second.count : database.count;
  }
  return delta;
}

// Where `timeline` was left for the next one of the history; 0 if the history does not tell.
uint64_t end_of(const std::vector<TimelineSwitch>& history, uint32_t timeline) {
  for (const auto& step : history) {
    if (step.timeline > timeline) return step.begin_lsn;
  }
  return 0;
}

uint64_t begin_of(const std::vector<TimelineSwitch>& history, uint32_t timeline) {
  for (const auto& step : history) {
    if (step.timeline == timeline) return step.begin_lsn;
  }
  return 0;
}

void advance_wal(CounterState& state, const ServerReading& now) {
  if (state.wal_timeline != 0 && now.timeline > state.wal_timeline) {
    // WAL behind the switch was never acknowledged and is gone.
    const uint64_t end = end_of(now.history, state.wal_timeline);
    if (end == 0 && !now.primary) return;  // its history has not come yet
    if (end > state.wal_lsn) state.wal_bytes += end - state.wal_lsn;
    state.wal_timeline = 0;
  }
  if (!now.primary || now.flush_lsn == 0) return;
  if (state.wal_timeline == now.timeline) {
    if (now.flush_lsn > state.wal_lsn) state.wal_bytes += now.flush_lsn - state.wal_lsn;
  } else {
    const uint64_t begin = begin_of(now.history, now.timeline);
    if (begin != 0 && now.flush_lsn > begin) state.wal_bytes += now.flush_lsn - begin;
  }
  state.wal_timeline = now.timeline;
  state.wal_lsn = now.flush_lsn;
}

}  // namespace

CounterState advance(CounterState state, const CounterReading& reading) {
  state.cpu_ms += grown(reading.cpu_ms, state.cpu_mark);
  state.read_bytes += grown(reading.read_bytes, state.read_mark);
  state.write_bytes += grown(reading.write_bytes, state.write_mark);
  if (!reading.server) return state;
  const ServerReading& now = *reading.server;
  state.transactions += transactions_since(state, now);
  state.bgwriter_reset = now.bgwriter_reset;
  state.archiver_reset = now.archiver_reset;
  state.databases = now.databases;
  state.server_seen = true;
  advance_wal(state, now);
  return state;
}

bool needs_history(const CounterState& state, bool primary, uint32_t timeline) {
  if (timeline <= 1) return false;
  return primary ? state.wal_timeline != timeline
                 : state.wal_timeline != 0 && state.wal_timeline < timeline;
}

}  // namespace trunkline::agent
