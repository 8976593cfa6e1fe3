#include "lookup/io/projector.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <set>
#include <unordered_set>

#include "base/digest.h"
#include "eventlog/reader.h"
#include "runtime/random.h"
#include "telemetry/attributes.h"
#include "telemetry/messaging.h"
#include "telemetry/metrics.h"
#include "telemetry/telemetry.h"

namespace trunkline::lookup {
namespace {

using eventlog::RecordedEvent;

constexpr size_t kViewsInMemory = 4000;
constexpr auto kLookEvery = std::chrono::milliseconds(500);
constexpr int kLooksPerLogCheck = 10;
constexpr auto kLongestPause = std::chrono::milliseconds(2000);
// Behind by more than this a rebuild is sooner done than catching up.
constexpr int64_t kRebuildWhenBehind = 100'000;
constexpr size_t kCatchUpBatch = 500;
constexpr int64_t kSmallRest = 2'000;

Checkpoint checkpoint_at(const RecordedEvent& event) { return {event.position, hex(event.hash)}; }

struct ProjectorMetrics {
  telemetry::GaugeFamily put_aside{"trunkline_lookup_streams_put_aside",
                                   "Streams with an event that cannot be projected."};
  telemetry::GaugeFamily position{"trunkline_lookup_position",
                                  "Position of the newest event in the read model."};
  telemetry::CounterFamily rebuilds{"trunkline_lookup_rebuilds_total",
                                    "Times that the read model was made anew."};
};
ProjectorMetrics& metrics() {
  static auto* const all = new ProjectorMetrics;
  return *all;
}

// A batch is of many traces: the newest event's is its parent, the others are linked to.
telemetry::SpanOptions options_of(std::span<const RecordedEvent> events) {
  constexpr size_t kMostLinks = 32;
  telemetry::SpanOptions options;
  options.kind = telemetry::SpanKind::consumer;
  options.parent = events.back().metadata.traceparent;
  for (const RecordedEvent& event : events.first(events.size() - 1)) {
    const std::string& other = event.metadata.traceparent;
    const std::string& last = options.links.empty() ? options.parent : options.links.back();
    if (other == last || other == options.parent) continue;
    if (options.links.size() == kMostLinks) break;
    options.links.push_back(other);
  }
  return options;
}

}  // namespace

Projector::Projector(bus::Bus& bus, Options options, DocumentCache& cache, PositionGate& gate)
    : bus_(bus),
      options_(std::move(options)),
      cache_(cache),
      gate_(gate),
      model_(options_.read_model_dsn, kSchema, ReadModel::Use::keep),
      log_(options_.log_dsn),
      views_(kViewsInMemory),
      thread_([this] { maintain(); }) {}

Projector::~Projector() {
  {
    const std::lock_guard lock(wake_mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Projector::suspect() {
  const std::lock_guard lock(wake_mutex_);
  suspected_ = true;
  wake_.notify_all();
}

void Projector::maintain() {
  auto pause = kLookEvery;
  while (true) {
    try {
      if (healthy_) {
        look();
      } else if (!adopt()) {
        const RebuildReport report = rebuild_now();
        spdlog::info("read model rebuilt from {} events in {:.2f} s", report.events,
                     report.seconds);
      }
      if (!feed_ && healthy_) start_feed();
      pause = healthy_ ? kLookEvery : std::chrono::milliseconds(10);
    } catch (const std::exception& error) {
      spdlog::warn("the read model cannot be kept now: {}", error.what());
      pause = std::min(pause * 2, kLongestPause);
    }
    std::unique_lock lock(wake_mutex_);
    wake_.wait_for(lock, pause, [&] { return stopping_ || suspected_; });
    suspected_ = false;
    if (stopping_) break;
  }
  feed_.reset();
}

void Projector::start_feed() {
  runtime::EventFeed::Options options;
  options.log_dsn = options_.log_dsn;
  {
    const std::lock_guard lock(mutex_);
    options.after_position = fed_position_ = checkpoint_.position;
  }
  auto feed = std::make_unique<runtime::EventFeed>(
      bus_, std::move(options), [this](const std::vector<RecordedEvent>& batch) { take(batch); });
  const std::lock_guard lock(mutex_);
  feed_ = std::move(feed);
}

// Goes on with the read model that is there. False: it is no fold of this log, or far behind it.
bool Projector::adopt() {
  const std::lock_guard lock(mutex_);
  const auto found = model_.checkpoint(read_model_format(options_.rendering));
  if (!found) {
    spdlog::info("there is no sound read model, it is rebuilt");
    return false;
  }
  if (!log_.holds(*found)) {
    spdlog::warn("the read model is ahead of the log (position {}), it is rebuilt",
                 found->position);
    return false;
  }
  if (log_.last_position() - found->position > kRebuildWhenBehind) return false;
  checkpoint_ = *found;
  blocked_.clear();
  for (const Poison& poison : model_.poison()) {
    blocked_.try_emplace(poison.stream, poison.position);
  }
  show();
  views_.clear();
  catch_up();
  healthy_ = true;
  gate_.set(checkpoint_.position);
  return true;
}

// PostgreSQL may have lost the newest transactions in a crash; the feed does not bring their events
// again.
void Projector::catch_up() {
  if (checkpoint_.position >= fed_position_) return;
  std::vector<RecordedEvent> batch;
  const auto take_batch = [&] {
    if (!batch.empty()) take_some(batch);
    batch.clear();
  };
  eventlog::read_bulk(options_.log_dsn, checkpoint_.position, fed_position_,
                      [&](RecordedEvent&& event) {
                        batch.push_back(std::move(event));
                        if (batch.size() == kCatchUpBatch) take_batch();
                      });
  take_batch();
}

// Has anybody but us touched it, or the log been set back?
void Projector::look() {
  const std::lock_guard lock(mutex_);
  const bool sound = model_.checkpoint(read_model_format(options_.rendering)) == checkpoint_ &&
                     (++looks_ % kLooksPerLogCheck != 0 || log_.holds(checkpoint_));
  if (sound) return;
  spdlog::warn("the read model is not the fold of the log any more, it is rebuilt");
  healthy_ = false;
  const std::lock_guard wake_lock(wake_mutex_);
  suspected_ = true;
}

RebuildReport Projector::rebuild() {
  if (!healthy_) throw ReadModelUnavailable("the read model is being rebuilt already");
  return rebuild_now();
}

RebuildReport Projector::rebuild_now() {
  const std::unique_lock one(rebuild_mutex_, std::try_to_lock);
  if (!one.owns_lock()) throw ReadModelUnavailable("the read model is being rebuilt already");
  const auto started = std::chrono::steady_clock::now();
  LogAccess log(options_.log_dsn);
  RebuildReport report;
  {
    Rebuild rebuild(options_.log_dsn, options_.read_model_dsn, options_.rendering);
    rebuild.fold_to(log.settled().position);
    rebuild.write();
    while (true) {
      const int64_t settled = log.settled().position;
      if (settled - rebuild.reached().position <= kSmallRest) break;
      rebuild.fold_to(settled);
      rebuild.write_rest();
    }
    const std::lock_guard lock(mutex_);
    // Positions that the feed has passed are settled. If the log was set back they are void.
    if (log_.holds(checkpoint_)) rebuild.fold_to(std::max(checkpoint_.position, fed_position_));
    rebuild.write_rest();
    rebuild.swap();
    const bool set_back = rebuild.reached().position < fed_position_;
    if (set_back) fed_position_ = rebuild.reached().position;
    checkpoint_ = rebuild.reached();
    blocked_ = rebuild.blocked();
    metrics().rebuilds.add();
    show();
    views_.clear();
    cache_.clear();
    healthy_ = true;
    gate_.set(checkpoint_.position);
    if (set_back && feed_) feed_->seek(checkpoint_.position);
    report = {rebuild.events(), rebuild.documents(), checkpoint_.position, 0};
  }
  malloc_trim(0);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  report.seconds = took.count();
  return report;
}

void Projector::take(const std::vector<RecordedEvent>& batch) {
  int64_t reached = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!healthy_) throw ReadModelDamaged("the read model is being rebuilt");
    std::span<const RecordedEvent> events(batch);
    while (!events.empty() && events.front().position <= checkpoint_.position) {
      events = events.subspan(1);
    }
    std::optional<telemetry::Span> span;
    if (!events.empty() && runtime::now() - events.back().recorded_at < telemetry::kTraceAge) {
      span.emplace("process tl.evt", options_of(events));
      telemetry::describe_message(*span, "tl.evt", "process", "process");
      span->set(telemetry::kMessagingBatchCount, static_cast<int64_t>(events.size()));
      span->set(telemetry::kPosition, events.back().position);
    }
    try {
      if (!events.empty()) take_some(events);
    } catch (const ReadModelDamaged& error) {
      healthy_ = false;
      suspect();
      throw;
    }
    fed_position_ = batch.back().position;
    reached = checkpoint_.position;
  }
  gate_.set(reached);
}

// All events in one transaction; if PostgreSQL refuses a value, each in its own, so that the one
// with that value can be put aside.
void Projector::take_some(std::span<const RecordedEvent> events) {
  Change change;
  Blocked blocked = blocked_;
  std::unordered_map<DocKey, std::string> touched;
  std::set<std::string> changed_views;
  std::vector<DocKey> touched_now;
  const auto forget_changes = [&] {
    for (const std::string& key : changed_views) views_.forget(key);
  };
  try {
    for (const RecordedEvent& event : events) {
      if (is_not_shown(event.stream)) continue;
      const auto stream = parse_stream(event.stream);
      if (!stream) {
        change.poison.push_back(put_aside(event, "the stream is of no known aggregate"));
        continue;
      }
      const std::string key = view_key(*stream);
      changed_views.insert(key);
      try {
        const bool first = event.version == 1 && stream->aggregate != Aggregate::group;
        View& view = first ? views_.begin(*stream)
                           : views_.get(*stream, checkpoint_.position, log_, blocked,
                                        change.poison);
        fold(view, event, blocked, change.poison, &touched_now);
      } catch (const eventlog::LogCorrupt& error) {
        blocked.emplace(event.stream, event.position);
        change.poison.push_back(put_aside(event, error.what()));
      }
      for (DocKey& document : touched_now) touched.try_emplace(std::move(document), key);
      touched_now.clear();
    }
    for (const auto& [key, view_key] : touched) {
      auto document = render(views_.at(view_key), key, options_.rendering);
      if (document) {
        change.upserts.push_back(std::move(*document));
      } else {
        change.removals.push_back(key);
      }
    }
    commit(change, checkpoint_at(events.back()));
  } catch (const ReadModelRefused& error) {
    forget_changes();
    if (events.size() == 1) return refuse(events.front(), error.what());
    for (size_t i = 0; i < events.size(); ++i) take_some(events.subspan(i, 1));
    return;
  } catch (...) {
    forget_changes();
    throw;
  }
  for (const Poison& poison : change.poison) {
    spdlog::error("event {} of {} is put aside: {}", poison.position, poison.stream, poison.error);
  }
  blocked_ = std::move(blocked);
  show();
  views_.shrink();
}

void Projector::show() const {
  metrics().put_aside.set(static_cast<double>(blocked_.size()));
  metrics().position.set(static_cast<double>(checkpoint_.position));
}

void Projector::refuse(const RecordedEvent& event, const std::string& error) {
  Change change;
  change.poison.push_back(put_aside(event, "the read model refuses it: " + error));
  commit(change, checkpoint_at(event));
  blocked_.try_emplace(event.stream, event.position);
  show();
  spdlog::error("event {} of {} is put aside: {}", event.position, event.stream, error);
}

void Projector::commit(const Change& change, const Checkpoint& to) {
  model_.apply(change, checkpoint_, to);
  checkpoint_ = to;
  cache_.put(change.upserts, change.removals);
  if (options_.on_change) options_.on_change(change, to.position);
}

size_t Projector::retry_poison(const std::string& stream) {
  const std::lock_guard lock(mutex_);
  if (!healthy_) throw ReadModelUnavailable("the read model is being rebuilt");
  Change change;
  Blocked blocked = blocked_;
  std::unordered_map<std::string, int> tries;
  std::set<std::string> retried;
  size_t others = 0;
  for (const Poison& poison : model_.poison()) {
    if (!stream.empty() && poison.stream != stream) {
      ++others;
      continue;
    }
    tries[poison.stream] = std::max(tries[poison.stream], poison.retried + 1);
    retried.insert(poison.stream);
    blocked.erase(poison.stream);
  }
  if (retried.empty()) return others;
  change.cleared_streams.assign(retried.begin(), retried.end());
  std::unordered_set<std::string> done;
  for (const std::string& name : retried) {
    const auto ref = parse_stream(name);
    if (!ref || !done.insert(view_key(*ref)).second) continue;
    views_.forget(view_key(*ref));
    const View& view = views_.get(*ref, checkpoint_.position, log_, blocked, change.poison);
    if (std::holds_alternative<InstanceView>(view)) {
      change.cleared_instances.emplace_back(ref->uuid);
    }
    if (std::holds_alternative<VersionView>(view)) {
      change.removals.push_back({DocKind::version, std::string(ref->uuid)});
    }
    if (std::holds_alternative<TokenView>(view)) {
      change.removals.push_back({DocKind::token, std::string(ref->uuid)});
    }
    if (std::holds_alternative<QuotaView>(view)) {
      change.removals.push_back({DocKind::quota, std::string(ref->uuid)});
    }
    for (const DocKey& key : document_keys(view)) {
      if (auto document = render(view, key, options_.rendering)) {
        change.upserts.push_back(std::move(*document));
      }
    }
  }
  // A stream of no known aggregate has no view to fold; what it holds is put aside again.
  for (const std::string& name : retried) {
    if (parse_stream(name)) continue;
    for (const Poison& poison : model_.poison()) {
      if (poison.stream == name) change.poison.push_back(poison);
    }
  }
  for (Poison& poison : change.poison) poison.retried = tries[poison.stream];
  try {
    commit(change, checkpoint_);
  } catch (...) {
    for (const std::string& key : done) views_.forget(key);
    throw;
  }
  blocked_ = std::move(blocked);
  show();
  cache_.clear();
  return others + change.poison.size();
}

}  // namespace trunkline::lookup
