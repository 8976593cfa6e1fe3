#include "runtime/relay.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/digest.h"
#include "bus/streams.h"
#include "eventlog/reader.h"
#include "runtime/random.h"
#include "telemetry/attributes.h"
#include "telemetry/messaging.h"
#include "telemetry/metrics.h"
#include "telemetry/telemetry.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::runtime {
namespace {

using nlohmann::json;
constexpr size_t kWindow = 256;
constexpr size_t kMostEventBytes = 1'000'000;  // of an envelope; headers come on top
constexpr auto kIdlePoll = std::chrono::milliseconds(100);
constexpr auto kPauseAfterFailure = std::chrono::milliseconds(200);
constexpr auto kStreamCheck = std::chrono::seconds(2);

// Where the stream ends: its last sequence, and the log position of its last message.
struct Tail {
  uint64_t sequence = 0;
  int64_t position = 0;
};

int64_t position_in_headers(const std::string& headers) {
  constexpr std::string_view kId = "Nats-Msg-Id: ";
  const size_t at = headers.find(kId);
  int64_t position = 0;
  if (at != std::string::npos) {
    std::from_chars(headers.data() + at + kId.size(), headers.data() + headers.size(), position);
  }
  return position;
}

Tail read_tail(bus::Bus& bus) {
  bus::ensure_event_stream(bus);
  const std::string stream = bus::kEventStream;
  const json info = json::parse(bus.jetstream_api("STREAM.INFO." + stream, ""));
  if (!info.contains("state")) throw bus::BusUnavailable("no state of " + stream);
  Tail tail;
  tail.sequence = info["state"].value("last_seq", uint64_t{0});
  if (info["state"].value("messages", uint64_t{0}) == 0) return tail;
  const json got = json::parse(bus.jetstream_api("STREAM.MSG.GET." + stream,
                                                 json{{"seq", tail.sequence}}.dump()));
  if (!got.contains("message")) throw bus::BusUnavailable("no last message of " + stream);
  const auto headers = unbase64(got["message"].value("hdrs", std::string()));
  tail.position = headers ? position_in_headers(*headers) : 0;
  return tail;
}

struct RelayMetrics {
  telemetry::CounterFamily events{"trunkline_relay_events_total", "Events carried to JetStream."};
  telemetry::CounterFamily pauses{"trunkline_relay_pauses_total",
                                  "Times that the relay had to begin anew."};
  telemetry::CounterFamily left_out{"trunkline_relay_too_large_total",
                                    "Events that are too large for the bus."};
  telemetry::GaugeFamily position{"trunkline_relay_position",
                                  "Position of the newest event that JetStream has."};
  telemetry::GaugeFamily lag{"trunkline_relay_lag_seconds",
                             "How long the oldest event that JetStream has not got is known."};
};
RelayMetrics& metrics() {
  static auto* const all = new RelayMetrics;
  return *all;
}

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Nothing for an event of a trace that is over: a stream that is filled again.
std::unique_ptr<telemetry::Span> publish_span(const eventlog::RecordedEvent& event,
                                              TimePoint now) {
  const std::string& parent = event.metadata.traceparent;
  if (now - event.recorded_at > telemetry::kTraceAge || !telemetry::is_traceparent(parent)) {
    return nullptr;
  }
  const std::string aggregate = eventlog::aggregate_of(event.stream);
  auto span = telemetry::Span::unattached(
      "publish tl.evt." + aggregate, {telemetry::SpanKind::producer, parent, {}, false, {}});
  telemetry::describe_message(*span, bus::event_subject(aggregate, eventlog::uuid_of(event.stream)),
                              "publish", "publish");
  span->set(telemetry::kMessagingMessageId, std::to_string(event.position));
  span->set("trunkline.event", event.type);
  return span;
}

// Counts the answers to one window of publishes.
struct Window {
  std::mutex mutex;
  std::condition_variable done;
  size_t answered = 0;
  size_t stored = 0;
  std::string first_error;
};

}  // namespace

struct Relay::Impl {
  bus::Bus& bus;
  std::string log_dsn;
  std::atomic<int64_t> position{0};
  std::atomic<int64_t> behind_since_ms{0};  // 0: nothing is waiting
  std::mutex mutex;
  std::condition_variable wake;
  bool hinted = false;
  bool stopping = false;
  std::unique_ptr<eventlog::Reader> reader;
  std::unique_ptr<bus::Subscription> hints;
  std::thread thread;
  telemetry::ScrapeHook hook{[this] {
    const int64_t since = behind_since_ms.load();
    metrics().lag.set(since == 0 ? 0 : static_cast<double>(now_ms() - since) / 1000);
    metrics().position.set(static_cast<double>(position.load()));
  }};

  Impl(bus::Bus& b, std::string dsn) : bus(b), log_dsn(std::move(dsn)) {}

  bool stopped() {
    const std::lock_guard lock(mutex);
    return stopping;
  }

  void wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    wake.wait_for(lock, time, [&] { return stopping || hinted; });
    hinted = false;
  }

  // Publishes `batch` right after `tail`; every message names the sequence that must be the last,
  // so after one that is refused the rest of the window is refused too. True: all are stored.
  bool publish(const std::vector<eventlog::RecordedEvent>& batch, Tail* tail) {
    const auto window = std::make_shared<Window>();
    int64_t previous = tail->position;
    uint64_t sequence = tail->sequence;
    std::vector<std::unique_ptr<telemetry::Span>> spans;
    const TimePoint now = runtime::now();
    size_t sent = 0;
    for (const auto& event : batch) {
      v1::EventEnvelope envelope;
      eventlog::to_envelope(event, previous, &envelope);
      const std::string bytes = envelope.SerializeAsString();
      previous = event.position;
      if (bytes.size() > kMostEventBytes) {
        // The next one says that this was before it: whoever has not got it goes to the table.
        spdlog::error("relay: event {} of {} bytes is too large for the bus and left to the table",
                      event.position, bytes.size());
        metrics().left_out.add();
        continue;
      }
      ++sent;
      spans.push_back(publish_span(event, now));
      const bus::Headers headers = {
          {"Nats-Msg-Id", std::to_string(event.position)},
          {"Nats-Expected-Stream", bus::kEventStream},
          {"Nats-Expected-Last-Sequence", std::to_string(sequence++)},
          {bus::kTraceparentHeader, event.metadata.traceparent}};
      bus.publish_stored_async(
          bus::event_subject(eventlog::aggregate_of(event.stream), eventlog::uuid_of(event.stream)),
          bytes, headers, std::chrono::seconds(2),
          [window](bus::PublishResult result) {
            const std::lock_guard lock(window->mutex);
            ++window->answered;
            if (result.status == bus::PublishResult::Status::stored) {
              ++window->stored;
            } else if (window->first_error.empty()) {
              const bool known = result.status == bus::PublishResult::Status::duplicate;
              window->first_error = known ? "another relay was first"
                                    : result.error.empty() ? "no answer" : result.error;
            }
            window->done.notify_all();
          });
    }
    std::unique_lock lock(window->mutex);
    window->done.wait(lock, [&] { return window->answered == sent; });
    if (window->stored != sent) {
      for (const auto& span : spans) {
        if (span) span->fail("not_stored", window->first_error);
      }
      spdlog::warn("relay: {} of {} events stored, reading the stream's tail again: {}",
                   window->stored, sent, window->first_error);
      return false;
    }
    tail->sequence = sequence;
    tail->position = previous;
    return true;
  }

  void relay_from(Tail tail) {
    position = tail.position;
    if (!reader) reader = std::make_unique<eventlog::Reader>(log_dsn, tail.position);
    reader->seek(tail.position);
    auto last_check = std::chrono::steady_clock::now();
    while (!stopped()) {
      const auto batch = reader->next(kWindow);
      if (!batch.empty()) {
        if (behind_since_ms == 0) behind_since_ms = now_ms();
        if (!publish(batch, &tail)) return;
        position = tail.position;
        if (batch.size() < kWindow) behind_since_ms = 0;
        metrics().events.add({}, static_cast<double>(batch.size()));
        continue;
      }
      behind_since_ms = 0;
      wait(kIdlePoll);
      // A wiped stream shows only when somebody looks.
      if (std::chrono::steady_clock::now() - last_check > kStreamCheck) {
        last_check = std::chrono::steady_clock::now();
        const json info = json::parse(
            bus.jetstream_api(std::string("STREAM.INFO.") + bus::kEventStream, ""), nullptr, false);
        const bool same = info.is_object() && info.contains("state") &&
                          info["state"].value("last_seq", uint64_t{0}) == tail.sequence;
        if (!same) return;
      }
    }
  }

  void run() {
    while (!stopped()) {
      try {
        relay_from(read_tail(bus));
      } catch (const std::exception& error) {
        spdlog::warn("relay pauses: {}", error.what());
        metrics().pauses.add();
        // Nothing can be relayed, whatever there is.
        if (behind_since_ms == 0) behind_since_ms = now_ms();
        reader.reset();
        wait(kPauseAfterFailure);
      }
    }
  }
};

Relay::Relay(bus::Bus& bus, std::string log_dsn)
    : impl_(std::make_unique<Impl>(bus, std::move(log_dsn))) {
  impl_->hints = bus.subscribe(bus::kAppendedSubject, [impl = impl_.get()](bus::Message&&) {
    const std::lock_guard lock(impl->mutex);
    impl->hinted = true;
    impl->wake.notify_one();
  });
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

Relay::~Relay() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  impl_->thread.join();
  impl_->hints.reset();
}

int64_t Relay::position() const { return impl_->position.load(); }

}  // namespace trunkline::runtime
