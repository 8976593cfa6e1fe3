#include "api-gateway/io/command_client.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "bus/streams.h"
#include "telemetry/attributes.h"
#include "telemetry/messaging.h"

namespace trunkline::gateway {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPatience{2'000};      // of the asker
constexpr milliseconds kRepeatPatience{4'000};
constexpr seconds kFirstRepeat{3};
constexpr seconds kLongestPause{30};
constexpr std::chrono::minutes kGiveUp{10};
constexpr size_t kMostInFlight = 4096;
constexpr size_t kMostOfAProject = 1024;

// The group of an instance has its id, and another owner.
const char* owner_of(const v1::Command& command) {
  if (command.has_group()) return "replication";
  if (command.has_price_list() || command.has_webhook()) return "metering";
  return "provisioner";
}

std::shared_ptr<telemetry::Span> publish_span(const v1::Command& command, const char* owner,
                                              const std::string& subject) {
  std::shared_ptr<telemetry::Span> span = telemetry::Span::unattached(
      std::string("publish tl.cmd.") + owner,
      {telemetry::SpanKind::producer, command.traceparent(), {}, false, {}});
  telemetry::describe_message(*span, subject, "publish", "publish");
  span->set(telemetry::kMessagingMessageId, command.command_id());
  return span;
}

}  // namespace

CommandClient::CommandClient(bus::Bus& bus) : bus_(bus), repeater_([this] { repeat_loop(); }) {}

CommandClient::~CommandClient() { stop(); }

void CommandClient::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (repeater_.joinable()) repeater_.join();
  std::unordered_map<std::string, Entry> dropped;
  const std::lock_guard lock(mutex_);
  dropped.swap(entries_);
}

std::optional<std::string> CommandClient::project_in_flight(const std::string& command_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(command_id);
  return found == entries_.end() ? std::nullopt : std::optional(found->second.project_id);
}

void CommandClient::send(v1::Command command, Callback callback) {
  Entry entry;
  const char* owner = owner_of(command);
  entry.subject = bus::command_subject(owner, command.aggregate_id());
  entry.span = publish_span(command, owner, entry.subject);
  command.set_traceparent(entry.span->traceparent());
  entry.bytes = command.SerializeAsString();
  entry.traceparent = command.traceparent();
  entry.project_id = command.origin().project_id();
  entry.started = Clock::now();
  entry.due = entry.started + kFirstRepeat;
  Entry copy = entry;
  const std::string& id = command.command_id();
  {
    const std::lock_guard lock(mutex_);
    const auto of_project = std::ranges::count_if(entries_, [&](const auto& other) {
      return other.second.project_id == entry.project_id;
    });
    if (entries_.size() >= kMostInFlight || static_cast<size_t>(of_project) >= kMostOfAProject) {
      copy.callback = nullptr;
    } else {
      copy.serial = entry.serial = ++last_serial_;
      entry.callback = std::move(callback);
      // A repeat by the asker takes the place of what is in flight under the same id; whoever
      // waited for that one is told that it is pending.
      auto& slot = entries_[id];
      std::swap(slot, entry);
      slot.maybe_stored = entry.maybe_stored;
    }
  }
  if (copy.serial == 0) {
    callback({Outcome::Kind::not_sent, {}, "too many commands in flight"});
    return;
  }
  if (entry.callback) entry.callback({Outcome::Kind::pending, {}, "asked again"});
  transmit(id, copy, kPatience);
}

// Publishes and listens; `entry` is a copy, the kept one is found by id and serial.
void CommandClient::transmit(const std::string& id, const Entry& entry, milliseconds patience) {
  const uint64_t serial = entry.serial;
  try {
    const std::string inbox =
        bus_.expect_answer(patience, [this, id, serial](std::optional<bus::Message> message) {
          on_answer(id, serial, std::move(message));
        });
    bus::Headers headers{{bus::kAnswerToHeader, inbox}};
    if (!entry.traceparent.empty()) headers[bus::kTraceparentHeader] = entry.traceparent;
    bus_.publish_stored_async(entry.subject, entry.bytes, headers, patience,
                              [this, id, serial](bus::PublishResult result) {
                                on_published(id, serial, result);
                              });
  } catch (const std::runtime_error& e) {  // the bus is away, or the command is too large
    spdlog::warn("command {}: {}", id, e.what());
    Callback callback;
    {
      const std::lock_guard lock(mutex_);
      const auto found = entries_.find(id);
      if (found == entries_.end() || found->second.serial != serial) return;
      if (found->second.maybe_stored) return;
      callback = std::move(found->second.callback);
      entries_.erase(found);
    }
    if (callback) callback({Outcome::Kind::not_sent, {}, e.what()});
  }
}

void CommandClient::on_published(const std::string& id, uint64_t serial,
                                 const bus::PublishResult& result) {
  using Status = bus::PublishResult::Status;
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.serial != serial) return;
  if (result.status == Status::refused || result.status == Status::wrong_last_id) {
    // The stream may be gone: the repeater makes it again and sends at once.
    spdlog::warn("command {}: not stored: {}", id, result.error);
    if (!found->second.maybe_stored) {
      found->second.due = Clock::now() + milliseconds(100);
      wake_.notify_all();
    }
    return;
  }
  found->second.maybe_stored = true;
  found->second.span.reset();
}

void CommandClient::on_answer(const std::string& id, uint64_t serial,
                              std::optional<bus::Message> message) {
  v1::CommandAnswer answer;
  const bool good = message && answer.ParseFromString(message->data) && answer.command_id() == id;
  if (!good) return on_first_patience_over(id, serial);
  Callback callback;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.serial != serial) return;
    callback = std::move(found->second.callback);
    // Whoever was told "pending" was promised that it is carried out.
    const bool go_on = !callback && answer.has_unavailable();
    if (!go_on) entries_.erase(found);
  }
  if (callback) callback({Outcome::Kind::answered, std::move(answer), {}});
}

void CommandClient::on_first_patience_over(const std::string& id, uint64_t serial) {
  Callback callback;
  Outcome outcome;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.serial != serial) return;
    if (!found->second.callback) return;
    callback = std::move(found->second.callback);
    found->second.callback = nullptr;
    outcome.kind = found->second.maybe_stored ? Outcome::Kind::pending : Outcome::Kind::not_sent;
    outcome.why = "no answer in time";
    if (outcome.kind == Outcome::Kind::not_sent) entries_.erase(found);
  }
  callback(std::move(outcome));
}

void CommandClient::repeat_loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto now = Clock::now();
    auto next = now + seconds(1);
    std::vector<std::pair<std::string, Entry>> due;
    bool lost_stream = false;
    for (auto at = entries_.begin(); at != entries_.end();) {
      Entry& entry = at->second;
      if (now - entry.started > kGiveUp && !entry.callback) {
        spdlog::error("command {}: never answered, given up", at->first);
        at = entries_.erase(at);
        continue;
      }
      if (entry.due <= now) {
        lost_stream = lost_stream || !entry.maybe_stored;
        const auto pause =
            std::min(kLongestPause, kFirstRepeat * (1 << std::min(entry.repeats, 4)));
        ++entry.repeats;
        entry.due = now + (entry.maybe_stored ? milliseconds(pause) : milliseconds(500));
        Entry copy = entry;
        copy.callback = nullptr;
        due.emplace_back(at->first, std::move(copy));
      }
      next = std::min(next, entry.due);
      ++at;
    }
    if (due.empty()) {
      wake_.wait_until(lock, next);
      continue;
    }
    lock.unlock();
    try {
      if (lost_stream) bus::ensure_command_stream(bus_);
    } catch (const std::exception& e) {
      spdlog::warn("commands: the work queue cannot be made: {}", e.what());
    }
    for (const auto& [id, entry] : due) transmit(id, entry, kRepeatPatience);
    lock.lock();
  }
}

}  // namespace trunkline::gateway
