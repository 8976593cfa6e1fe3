// NATS as the services use it: publish, request, subscribe, and JetStream through its JSON API on
// plain subjects. One Bus a process; all methods are thread-safe; callbacks run on threads of the
// NATS library, one thread a subscription, and must not block for long.
//
// Replies go to `tl.inbox.<user>.…`, so that no service can listen to another's answers.
// Reconnects for ever; while it is away publish fails with BusUnavailable (nothing is buffered). To
// a server that is there and takes nothing, it does so after a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace trunkline::bus {

class BusUnavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

using Headers = std::map<std::string, std::string>;

struct Message {
  std::string subject;
  std::string reply;   // empty: nobody waits
  std::string data;
  Headers headers;
};

struct BusOptions {
  std::string url;
  std::string user;
  std::string password;
  std::string client_name;
};

// Unsubscribes and waits for a running callback when it is destroyed.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

// Whether JetStream stored a message.
struct PublishResult {
  enum class Status {
    stored,
    duplicate,       // Nats-Msg-Id known
    wrong_last_id,   // Nats-Expected-Last-Msg-Id differs
    refused,         // another error, see `error`
    unknown,         // no answer in time: it may be stored later
  };
  Status status = Status::unknown;
  uint64_t sequence = 0;
  std::string error;
};

class Bus {
 public:
  // Connects, waiting until the server is there or `patience` is over (then BusUnavailable).
  static std::unique_ptr<Bus> connect(const BusOptions& options,
                                      std::chrono::milliseconds patience);
  virtual ~Bus() = default;

  virtual bool connected() const = 0;
  // Called when the connection is lost, and after every reconnect, on a thread of the library.
  virtual void on_disconnect(std::function<void()> callback) = 0;
  virtual void on_reconnect(std::function<void()> callback) = 0;

  // Fire and forget. Throws BusUnavailable.
  virtual void publish(const std::string& subject, std::string_view data,
                       const Headers& headers = {}, const std::string& reply = {}) = 0;
  // One answer, or nothing in time. Throws BusUnavailable.
  virtual std::optional<Message> request(const std::string& subject, std::string_view data,
                                         std::chrono::milliseconds timeout,
                                         const Headers& headers = {}) = 0;
  // Asks for one answer that comes to `callback` (on a library thread), or an empty one after
  // `timeout`. Exactly one call per request. Throws BusUnavailable.
  using AnswerCallback = std::function<void(std::optional<Message>)>;
  virtual void request_async(const std::string& subject, std::string_view data,
                             std::chrono::milliseconds timeout, AnswerCallback callback,
                             const Headers& headers = {}) = 0;

  // An inbox of this process for an answer that comes by another way than the reply subject (a
  // command's answer travels behind a work queue). `callback` gets the answer, or nothing after
  // `timeout`; exactly once.
  virtual std::string expect_answer(std::chrono::milliseconds timeout, AnswerCallback callback) = 0;

  using MessageCallback = std::function<void(Message&&)>;
  virtual std::unique_ptr<Subscription> subscribe(const std::string& subject,
                                                  MessageCallback callback,
                                                  const std::string& queue_group = {}) = 0;

  // JetStream publish that waits for the server's word.
  virtual PublishResult publish_stored(const std::string& subject, std::string_view data,
                                       const Headers& headers,
                                       std::chrono::milliseconds timeout) = 0;
  // The same without waiting: `callback` comes once, on a library thread.
  virtual void publish_stored_async(const std::string& subject, std::string_view data,
                                    const Headers& headers, std::chrono::milliseconds timeout,
                                    std::function<void(PublishResult)> callback) = 0;
  // A request to the JetStream API, e.g. "STREAM.INFO.TL_EVT"; the answer's JSON text.
  // Throws BusUnavailable, also if nothing answers in time.
  virtual std::string jetstream_api(const std::string& call, const std::string& json) = 0;
};

// Acknowledge a message that a JetStream consumer delivered (by its reply subject).
void ack(Bus& bus, const Message& message);
void nak(Bus& bus, const Message& message, std::chrono::milliseconds delay);
void in_progress(Bus& bus, const Message& message);

}  // namespace trunkline::bus
