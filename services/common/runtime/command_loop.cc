#include "runtime/command_loop.h"

#include <spdlog/spdlog.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bus/streams.h"
#include "telemetry/attributes.h"
#include "telemetry/messaging.h"
#include "telemetry/metrics.h"
#include "telemetry/telemetry.h"

namespace trunkline::runtime {
namespace {

constexpr auto kCheckEvery = std::chrono::milliseconds(2000);
constexpr auto kCheckSoon = std::chrono::milliseconds(100);
constexpr auto kAgainAfter = std::chrono::milliseconds(300);
constexpr auto kSayEvery = std::chrono::milliseconds(1000);
// A command that is worked on for longer is delivered again: who has it may never end.
constexpr auto kWorkedOnAtMost = std::chrono::seconds(60);

struct CommandMetrics {
  telemetry::CounterFamily answered{
      "trunkline_commands_total", "Commands that this process has answered.", {"outcome"}};
  telemetry::CounterFamily again{"trunkline_commands_put_back_total",
                                 "Commands that were put back into the queue."};
  telemetry::HistogramFamily took{"trunkline_command_duration_seconds",
                                  "From a command's delivery to its answer."};
};
CommandMetrics& metrics() {
  static auto* const all = new CommandMetrics;
  return *all;
}

const char* outcome_of(const v1::CommandAnswer& answer) {
  switch (answer.outcome_case()) {
    case v1::CommandAnswer::kAccepted:
      return "accepted";
    case v1::CommandAnswer::kIgnored:
      return "ignored";
    case v1::CommandAnswer::kRejected:
      return "rejected";
    case v1::CommandAnswer::kUnavailable:
      return "unavailable";
    case v1::CommandAnswer::OUTCOME_NOT_SET:
      break;
  }
  return "none";
}

// The commands that this process has and has not answered. The queue is told of each that it is
// worked on: behind others it may wait for longer than the queue waits for an acknowledgement.
class AtWork {
 public:
  void add(const std::string& delivery) {
    const std::lock_guard lock(mutex_);
    taken_at_.emplace(delivery, std::chrono::steady_clock::now());
  }
  void remove(const std::string& delivery) {
    const std::lock_guard lock(mutex_);
    taken_at_.erase(delivery);
  }
  void say(bus::Bus& bus) {
    std::vector<std::string> deliveries;
    {
      const auto now = std::chrono::steady_clock::now();
      const std::lock_guard lock(mutex_);
      for (const auto& [delivery, taken_at] : taken_at_) {
        if (now - taken_at < kWorkedOnAtMost) deliveries.push_back(delivery);
      }
    }
    for (const auto& delivery : deliveries) bus::in_progress(bus, {.reply = delivery});
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::chrono::steady_clock::time_point> taken_at_;
};

class QueuedReply : public CommandReply {
 public:
  QueuedReply(bus::Bus& bus, std::shared_ptr<AtWork> at_work, bus::Message message,
              std::unique_ptr<telemetry::Span> span)
      : bus_(bus),
        at_work_(std::move(at_work)),
        message_(std::move(message)),
        span_(std::move(span)) {
    at_work_->add(message_.reply);
  }
  ~QueuedReply() override { at_work_->remove(message_.reply); }

  void answer(const v1::CommandAnswer& answer) override {
    at_work_->remove(message_.reply);
    metrics().answered.add({outcome_of(answer)});
    const auto took = std::chrono::steady_clock::now() - taken_at_;
    metrics().took.observe(std::chrono::duration<double>(took).count());
    if (answer.has_unavailable()) span_->fail("unavailable");
    quietly([&] {
      const auto to = message_.headers.find(bus::kAnswerToHeader);
      if (to != message_.headers.end() && to->second.starts_with("tl.inbox.")) {
        bus_.publish(to->second, answer.SerializeAsString());
      }
      bus::ack(bus_, message_);
    });
    span_.reset();
  }
  void again() override {
    at_work_->remove(message_.reply);
    metrics().again.add();
    span_->fail("again");
    quietly([&] { bus::nak(bus_, message_, kAgainAfter); });
    span_.reset();
  }

 private:
  // An answer that cannot be sent is not lost: the command comes again and so does its answer.
  template <class Send>
  void quietly(Send send) {
    try {
      send();
    } catch (const bus::BusUnavailable& error) {
      spdlog::warn("the bus is away, a command will be delivered again: {}", error.what());
    }
  }

  bus::Bus& bus_;
  const std::shared_ptr<AtWork> at_work_;
  const bus::Message message_;
  const std::chrono::steady_clock::time_point taken_at_ = std::chrono::steady_clock::now();
  std::unique_ptr<telemetry::Span> span_;
};

}  // namespace

struct CommandLoop::Impl {
  bus::Bus& bus;
  std::string service;
  Handler handler;
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  const std::shared_ptr<AtWork> at_work = std::make_shared<AtWork>();
  std::unique_ptr<bus::Subscription> subscription;
  std::thread keeper;
  std::thread sayer;

  Impl(bus::Bus& b, std::string s, Handler h)
      : bus(b), service(std::move(s)), handler(std::move(h)) {}

  void take(bus::Message&& message) {
    v1::Command command;
    if (!command.ParseFromString(message.data)) {
      spdlog::error("a message on {} is no command; it is taken off the queue", message.subject);
      bus::ack(bus, message);
      return;
    }
    auto span = telemetry::Span::unattached(
        "process tl.cmd." + service,
        {telemetry::SpanKind::consumer, command.traceparent(), {}, false, {}});
    telemetry::describe_message(*span, message.subject, "process", "process");
    span->set(telemetry::kMessagingMessageId, command.command_id());
    command.set_traceparent(span->traceparent());
    handler(std::move(command),
            std::make_shared<QueuedReply>(bus, at_work, std::move(message), std::move(span)));
  }

  void say_what_is_at_work() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      wake.wait_for(lock, kSayEvery, [&] { return stopping; });
      if (stopping) return;
      lock.unlock();
      try {
        at_work->say(bus);
      } catch (const std::exception& error) {
        spdlog::debug("the queue is not told what is worked on: {}", error.what());
      }
      lock.lock();
    }
  }

  void keep_consumer() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      lock.unlock();
      auto pause = kCheckEvery;
      try {
        bus::ensure_command_stream(bus);
        bus::ensure_command_consumer(bus, service);
      } catch (const std::exception& error) {
        spdlog::warn("the command queue is not there yet: {}", error.what());
        pause = kCheckSoon;
      }
      lock.lock();
      wake.wait_for(lock, pause, [&] { return stopping; });
    }
  }
};

CommandLoop::CommandLoop(bus::Bus& bus, std::string service, Handler handler)
    : impl_(std::make_unique<Impl>(bus, std::move(service), std::move(handler))) {
  metrics();  // shown from the start
  impl_->subscription = bus.subscribe(
      bus::command_delivery_subject(impl_->service),
      [impl = impl_.get()](bus::Message&& message) { impl->take(std::move(message)); },
      impl_->service);
  impl_->keeper = std::thread([impl = impl_.get()] { impl->keep_consumer(); });
  impl_->sayer = std::thread([impl = impl_.get()] { impl->say_what_is_at_work(); });
}

CommandLoop::~CommandLoop() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  impl_->keeper.join();
  impl_->sayer.join();
  impl_->subscription.reset();
}

}  // namespace trunkline::runtime
