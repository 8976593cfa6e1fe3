#include "runtime/event_feed.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "eventlog/reader.h"
#include "telemetry/metrics.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::runtime {
namespace {

using eventlog::RecordedEvent;
constexpr size_t kMaxQueued = 20'000;
constexpr auto kIdlePoll = std::chrono::milliseconds(250);
constexpr auto kPauseAfterFailure = std::chrono::milliseconds(200);

struct FeedMetrics {
  telemetry::GaugeFamily position{"trunkline_feed_position",
                                  "Position of the newest event that this process has folded."};
  telemetry::CounterFamily events{"trunkline_feed_events_total", "Events folded."};
  telemetry::CounterFamily refused{"trunkline_feed_batches_refused_total",
                                   "Batches that could not be folded and are tried again."};
};
FeedMetrics& metrics() {
  static auto* const all = new FeedMetrics;
  return *all;
}

struct Carried {
  int64_t previous_position = 0;
  RecordedEvent event;
};

}  // namespace

struct EventFeed::Impl {
  bus::Bus& bus;
  Options options;
  Callback on_events;
  std::atomic<int64_t> position{0};

  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Carried> queue;
  bool stopping = false;
  std::optional<int64_t> seek_to;

  std::unique_ptr<eventlog::Reader> reader;
  std::unique_ptr<bus::Subscription> subscription;
  std::thread thread;

  Impl(bus::Bus& b, Options o, Callback c)
      : bus(b), options(std::move(o)), on_events(std::move(c)), position(options.after_position) {}

  void take(const bus::Message& message) {
    v1::EventEnvelope envelope;
    if (!envelope.ParseFromString(message.data)) return;
    const std::lock_guard lock(mutex);
    if (queue.size() >= kMaxQueued) queue.clear();  // the table has them all
    queue.push_back({static_cast<int64_t>(envelope.previous_position()),
                     eventlog::from_envelope(envelope)});
    wake.notify_one();
  }

  bool pause(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    wake.wait_for(lock, time, [&] { return stopping; });
    return !stopping;
  }

  // Hands a batch over, again and again until it is taken. False: stopping.
  bool deliver(const std::vector<RecordedEvent>& batch) {
    while (true) {
      try {
        on_events(batch);
        position = batch.back().position;
        metrics().position.set(static_cast<double>(position.load()));
        metrics().events.add({}, static_cast<double>(batch.size()));
        return true;
      } catch (const std::exception& error) {
        metrics().refused.add();
        spdlog::warn("events after position {} are not taken yet: {}", position.load(),
                     error.what());
      }
      if (!pause(kPauseAfterFailure)) return false;
    }
  }

  // Everything that the table holds after our position. False: stopping.
  bool catch_up() {
    while (true) {
      try {
        if (!reader) reader = std::make_unique<eventlog::Reader>(options.log_dsn, position.load());
        if (reader->position() < position.load()) reader->seek(position.load());
        const auto batch = reader->next(options.batch_limit);
        if (batch.empty()) return true;
        if (!deliver(batch)) return false;
      } catch (const eventlog::LogUnavailable& error) {
        spdlog::warn("the event log is away: {}", error.what());
        reader.reset();
        if (!pause(kPauseAfterFailure)) return false;
      }
      const std::lock_guard lock(mutex);
      if (stopping) return false;
      if (seek_to) return true;
    }
  }

  // Takes what the bus carried as long as it is contiguous. False: the table must fill a hole.
  bool drain(std::vector<RecordedEvent>* batch) {
    const std::lock_guard lock(mutex);
    int64_t at = position.load();
    while (!queue.empty() && batch->size() < options.batch_limit) {
      Carried& next = queue.front();
      if (next.event.position <= at) {
        queue.pop_front();
        continue;
      }
      if (next.previous_position != at) return false;
      at = next.event.position;
      batch->push_back(std::move(next.event));
      queue.pop_front();
    }
    return true;
  }

  void run() {
    if (!catch_up()) return;
    if (options.on_caught_up) options.on_caught_up();
    while (true) {
      {
        std::unique_lock lock(mutex);
        const bool carried = wake.wait_for(
            lock, kIdlePoll, [&] { return stopping || seek_to || !queue.empty(); });
        if (stopping) return;
        if (seek_to) {
          position = *seek_to;
          seek_to.reset();
          queue.clear();
          reader.reset();
        } else if (carried) {
          lock.unlock();
          std::vector<RecordedEvent> batch;
          const bool contiguous = drain(&batch);
          if (!batch.empty() && !deliver(batch)) return;
          if (contiguous) continue;
        }
      }
      if (!catch_up()) return;
    }
  }
};

EventFeed::EventFeed(bus::Bus& bus, Options options, Callback on_events)
    : impl_(std::make_unique<Impl>(bus, std::move(options), std::move(on_events))) {
  metrics().position.set(static_cast<double>(impl_->position.load()));
  impl_->subscription =
      bus.subscribe("tl.evt.>", [impl = impl_.get()](bus::Message&& m) { impl->take(m); });
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

EventFeed::~EventFeed() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  impl_->thread.join();
  impl_->subscription.reset();
}

int64_t EventFeed::position() const { return impl_->position.load(); }

void EventFeed::seek(int64_t after_position) {
  const std::lock_guard lock(impl_->mutex);
  impl_->seek_to = after_position;
  impl_->wake.notify_all();
}

}  // namespace trunkline::runtime
