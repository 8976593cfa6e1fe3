#include "metering/io/usage_meter.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "eventlog/reader.h"
#include "metering/domain/usage_evolve.h"
#include "metering/domain/usage_snapshot.h"
#include "metering/io/usage_meter_active.h"
#include "metering/io/usage_rebuild.h"
#include "metering/io/usage_schema.h"
#include "runtime/random.h"

namespace trunkline::metering {
namespace {

using eventlog::RecordedEvent;
constexpr char kTryLock[] = "SELECT pg_try_advisory_lock(hashtext('trunkline-metering'))";
constexpr auto kTryEvery = std::chrono::milliseconds(500);

}  // namespace

UsageMeter::UsageMeter(bus::Bus& bus, Options options)
    : bus_(bus), options_(std::move(options)), thread_([this] { run(); }) {}

UsageMeter::~UsageMeter() {
  {
    const std::lock_guard lock(wake_mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

bool UsageMeter::pause(std::chrono::milliseconds time) {
  std::unique_lock lock(wake_mutex_);
  wake_.wait_for(lock, time, [&] { return stopping_; });
  return !stopping_;
}

void UsageMeter::hear(const std::string& subject, const std::string& data) {
  const size_t dot = subject.rfind('.');
  const std::string who = subject.substr(dot + 1);
  bool is_taken = false;
  const std::lock_guard lock(book_mutex_);
  if (subject.starts_with("tl.stats.")) {
    v1::HostStats stats;
    is_taken = stats.ParseFromString(data) && book_.take(who, stats);
  } else {
    v1::TrafficReport report;
    is_taken = report.ParseFromString(data) && book_.take(who, report);
  }
  if (!is_taken) spdlog::warn("a message on {} is none of that sender", subject);
}

void UsageMeter::run() {
  while (pause(std::chrono::milliseconds(0))) {
    try {
      PgSession session(options_.metering_dsn);
      while (session.query(kTryLock).text(0, 0) != "t") {
        if (!pause(kTryEvery)) return;
      }
      be_active(session);
    } catch (const std::exception& error) {
      spdlog::warn("metering pauses: {}", error.what());
    }
    is_active_ = false;
    if (!pause(kTryEvery)) return;
  }
}

void UsageMeter::be_active(PgSession& session) {
  Active active(session, options_.log_dsn);
  adopt(active);
  runtime::EventFeed::Options feed;
  feed.log_dsn = options_.log_dsn;
  const int64_t begun_at = active.folded.position;
  feed.after_position = begun_at;
  active.feed = std::make_unique<runtime::EventFeed>(
      bus_, std::move(feed),
      [this, &active](const std::vector<RecordedEvent>& batch) { take(active, batch); });
  {
    const std::lock_guard lock(mutex_);
    current_ = &active;
  }
  is_active_ = true;
  spdlog::info("metering is active at position {}", begun_at);
  const auto every =
      std::chrono::milliseconds(std::clamp<int64_t>(options_.rules.length_ms / 20, 50, 500));
  std::string why;
  while (why.empty() && pause(every)) {
    try {
      tick(active);
    } catch (const std::exception& error) {
      why = error.what();
    }
  }
  is_active_ = false;
  {
    const std::scoped_lock lock(rebuild_mutex_, mutex_);
    current_ = nullptr;
    active.is_broken = true;
  }
  active.feed.reset();
  if (!why.empty()) spdlog::warn("metering begins anew: {}", why);
}

// Goes on from the tables that are there, or makes them.
void UsageMeter::adopt(Active& active) {
  const auto found = active.store.checkpoint();
  if (!found || !active.probe.holds(*found)) {
    spdlog::info("there is no sound projection of usage, it is made anew");
    const UsageRebuildReport report = make_anew(active);
    spdlog::info("usage: {} records from {} events in {:.2f} s", report.records, report.events,
                 report.seconds);
    return;
  }
  int64_t from = 0;
  const auto snapshot = active.store.snapshot();
  v1::UsageSnapshot parsed;
  if (snapshot && snapshot->at.position <= found->position && active.probe.holds(snapshot->at) &&
      parsed.ParseFromString(snapshot->data)) {
    if (auto state = load(parsed)) {
      active.state = std::move(*state);
      from = active.snapshot_position = snapshot->at.position;
    }
  }
  UsageChange known;  // all of it is written already
  eventlog::read_bulk(options_.log_dsn, from, found->position, [&](RecordedEvent&& event) {
    if (is_folded(event.stream)) evolve(active.state, as_log_event(event), known);
    known.records.clear();
    known.instances.clear();
  });
  active.folded = active.written = *found;
  position_ = found->position;
}

int64_t UsageMeter::records_from(int64_t now_ms) const {
  return aligned(now_ms, kDayMs) - options_.record_days * kDayMs;
}

UsageRebuildReport UsageMeter::make_anew(Active& active) {
  const TimePoint started = runtime::monotonic_now();
  LogProbe probe(options_.log_dsn);
  UsageRebuild rebuild(options_.log_dsn, options_.metering_dsn, records_from(probe.now_ms()));
  rebuild.fold_to(probe.settled());
  const std::lock_guard lock(mutex_);
  // Positions that the feed has passed are settled. If the log was set back they are void.
  if (probe.holds(active.folded)) rebuild.fold_to(active.folded.position);
  rebuild.swap();
  active.state = std::move(rebuild.state());
  active.folded = active.written = rebuild.reached();
  active.change = {};
  active.poison.clear();
  active.events_unwritten = 0;
  active.snapshot_position = 0;
  active.store.checkpoint();
  position_ = active.written.position;
  const std::chrono::duration<double> took = runtime::monotonic_now() - started;
  return {rebuild.events(), rebuild.records(), active.written.position, took.count()};
}

UsageRebuildReport UsageMeter::rebuild() {
  const std::lock_guard one(rebuild_mutex_);
  Active* active = nullptr;
  {
    const std::lock_guard lock(mutex_);
    active = current_;
  }
  if (active == nullptr) throw StoreUnavailable("this process is not the active one");
  return make_anew(*active);
}

}  // namespace trunkline::metering
