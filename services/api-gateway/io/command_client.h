// Sends commands over the work queue and waits for their answers. A command that was stored but is
// not answered is sent again, with the same id, for ten minutes: a lost NATS store loses nothing.
// Thread-safe; has a thread of its own for the repeats.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "bus/bus.h"
#include "telemetry/telemetry.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::gateway {

class CommandClient {
 public:
  explicit CommandClient(bus::Bus& bus);
  ~CommandClient();  // stop()s
  CommandClient(const CommandClient&) = delete;
  CommandClient& operator=(const CommandClient&) = delete;

  struct Outcome {
    enum class Kind {
      answered,
      pending,   // stored (or perhaps stored); it will be carried out and is sent again until then
      not_sent,  // it is certain that nobody has it
    };
    Kind kind = Kind::not_sent;
    v1::CommandAnswer answer;
    std::string why;  // for the log
  };
  // Exactly once, on a thread of the bus or of this object, or within the call.
  using Callback = std::function<void(Outcome)>;
  void send(v1::Command command, Callback callback);

  // The project that a command is about which is sent and has no answer yet; nothing: there is no
  // such command.
  std::optional<std::string> project_in_flight(const std::string& command_id) const;

  // No repeats any more; callbacks of what is under way still come from the bus.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::string subject;
    std::string bytes;
    std::string traceparent;
    std::string project_id;     // that it is about
    std::shared_ptr<telemetry::Span> span;  // until it is stored
    uint64_t serial = 0;        // of this sending: its asker may send the same command id anew
    Callback callback;          // until the first answer or the end of patience
    bool maybe_stored = false;
    int repeats = 0;
    Clock::time_point started;
    Clock::time_point due;      // of the next repeat
  };

  void transmit(const std::string& id, const Entry& entry, std::chrono::milliseconds patience);
  void on_published(const std::string& id, uint64_t serial, const bus::PublishResult& result);
  void on_answer(const std::string& id, uint64_t serial, std::optional<bus::Message> message);
  void on_first_patience_over(const std::string& id, uint64_t serial);
  void repeat_loop();

  bus::Bus& bus_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::unordered_map<std::string, Entry> entries_;  // by command id
  uint64_t last_serial_ = 0;
  bool stopping_ = false;
  std::thread repeater_;
};

}  // namespace trunkline::gateway
