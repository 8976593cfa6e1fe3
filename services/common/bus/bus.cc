#include "bus/bus.h"

#include <nats/nats.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <climits>
#include <condition_variable>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <queue>
#include <thread>
#include <unordered_map>

#include "bus/pieces.h"
#include "bus/too_large.h"
#include "telemetry/metrics.h"

namespace trunkline::bus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kWriteDeadlineMs = 1000;

struct MsgDeleter {
  void operator()(natsMsg* msg) const { natsMsg_Destroy(msg); }
};
using OwnedMsg = std::unique_ptr<natsMsg, MsgDeleter>;

Message to_message(natsMsg* msg) {
  Message out;
  out.subject = natsMsg_GetSubject(msg);
  if (const char* reply = natsMsg_GetReply(msg)) out.reply = reply;
  out.data.assign(natsMsg_GetData(msg), static_cast<size_t>(natsMsg_GetDataLength(msg)));
  const char** keys = nullptr;
  int count = 0;
  if (natsMsgHeader_Keys(msg, &keys, &count) == NATS_OK) {
    for (int i = 0; i < count; ++i) {
      const char* value = nullptr;
      if (natsMsgHeader_Get(msg, keys[i], &value) == NATS_OK) out.headers[keys[i]] = value;
    }
    free(keys);
  }
  return out;
}

// Unsubscribing does not wait for a running callback, and destroying under it can crash: the
// completion callback tells when the library has let go.
class NatsSubscription : public Subscription {
 public:
  explicit NatsSubscription(Bus::MessageCallback callback) : callback_(std::move(callback)) {}

  ~NatsSubscription() override {
    if (subscription_ == nullptr) return;
    natsSubscription_Unsubscribe(subscription_);
    completed_.get_future().wait_for(std::chrono::seconds(5));
    natsSubscription_Destroy(subscription_);
  }

  void start(natsConnection* connection, const std::string& subject, const std::string& queue) {
    const natsStatus status =
        queue.empty()
            ? natsConnection_Subscribe(&subscription_, connection, subject.c_str(), deliver, this)
            : natsConnection_QueueSubscribe(&subscription_, connection, subject.c_str(),
                                            queue.c_str(), deliver, this);
    if (status != NATS_OK) {
      throw BusUnavailable("subscribe " + subject + ": " + natsStatus_GetText(status));
    }
    natsSubscription_SetPendingLimits(subscription_, 200'000, 256 * 1024 * 1024);
    natsSubscription_SetOnCompleteCB(subscription_, completed, this);
  }

 private:
  static void deliver(natsConnection*, natsSubscription*, natsMsg* msg, void* closure) {
    const OwnedMsg owned(msg);
    auto* self = static_cast<NatsSubscription*>(closure);
    Message message = to_message(msg);
    if (const auto part = message.headers.find(kPieceHeader); part != message.headers.end()) {
      const std::string piece = part->second;
      message.headers.erase(part);
      auto whole = self->pieces_.add(piece, std::move(message));
      if (whole) self->callback_(std::move(*whole));
      return;
    }
    self->callback_(std::move(message));
  }
  static void completed(void* closure) {
    static_cast<NatsSubscription*>(closure)->completed_.set_value();
  }

  Bus::MessageCallback callback_;
  PieceStore pieces_;  // on the subscription's thread alone
  natsSubscription* subscription_ = nullptr;
  std::promise<void> completed_;
};

// Answers that are waited for, by the last token of their inbox subject.
class PendingAnswers {
 public:
  PendingAnswers() : sweeper_([this] { sweep(); }) {}
  ~PendingAnswers() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    sweeper_.join();
  }

  std::string add(std::chrono::milliseconds timeout, Bus::AnswerCallback callback) {
    const std::lock_guard lock(mutex_);
    const std::string token = std::to_string(++last_token_);
    const auto deadline = Clock::now() + timeout;
    waiting_.emplace(token, std::move(callback));
    const bool soonest = deadlines_.empty() || deadline < deadlines_.top().first;
    deadlines_.emplace(deadline, token);
    if (soonest) wake_.notify_all();
    return token;
  }

  void answer(const std::string& token, std::optional<Message> message) {
    Bus::AnswerCallback callback;
    {
      const std::lock_guard lock(mutex_);
      const auto found = waiting_.find(token);
      if (found == waiting_.end()) return;
      callback = std::move(found->second);
      waiting_.erase(found);
    }
    callback(std::move(message));
  }

  void forget(const std::string& token) {
    const std::lock_guard lock(mutex_);
    waiting_.erase(token);
  }

 private:
  void sweep() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      if (deadlines_.empty()) {
        wake_.wait(lock);
        continue;
      }
      const auto [deadline, token] = deadlines_.top();
      if (!waiting_.contains(token)) {
        deadlines_.pop();
        continue;
      }
      if (wake_.wait_until(lock, deadline) == std::cv_status::no_timeout) continue;
      if (Clock::now() < deadline) continue;
      if (!deadlines_.empty() && deadlines_.top().second == token) deadlines_.pop();
      lock.unlock();
      answer(token, std::nullopt);
      lock.lock();
    }
  }

  using Deadline = std::pair<Clock::time_point, std::string>;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::unordered_map<std::string, Bus::AnswerCallback> waiting_;
  std::priority_queue<Deadline, std::vector<Deadline>, std::greater<>> deadlines_;
  uint64_t last_token_ = 0;
  bool stopping_ = false;
  std::thread sweeper_;
};

std::string unique_token() {
  natsInbox* inbox = nullptr;
  if (natsInbox_Create(&inbox) != NATS_OK) throw BusUnavailable("cannot make an inbox name");
  const std::string text(inbox);
  natsInbox_Destroy(inbox);
  return text.substr(text.rfind('.') + 1);
}

// Whom the library calls about a connection, on its own thread and also after the bus is gone: the
// last call is that of closed().
class Callbacks {
 public:
  using List = std::vector<std::function<void()>>;
  List on_disconnect;
  List on_reconnect;

  void add(List Callbacks::*list, std::function<void()> callback) {
    const std::lock_guard lock(mutex_);
    (this->*list).push_back(std::move(callback));
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    on_disconnect.clear();
    on_reconnect.clear();
  }
  static void disconnected(natsConnection*, void* held) {
    of(held)->call(&Callbacks::on_disconnect);
  }
  static void reconnected(natsConnection*, void* held) { of(held)->call(&Callbacks::on_reconnect); }
  static void closed(natsConnection*, void* held) {
    delete static_cast<std::shared_ptr<Callbacks>*>(held);
  }

 private:
  static std::shared_ptr<Callbacks> of(void* held) {
    return *static_cast<std::shared_ptr<Callbacks>*>(held);
  }
  void call(const List Callbacks::*list) {
    List callbacks;
    {
      const std::lock_guard lock(mutex_);
      callbacks = this->*list;
    }
    for (const auto& callback : callbacks) callback();
  }

  std::mutex mutex_;
};

struct BusMetrics {
  telemetry::CounterFamily split{"trunkline_bus_split_total",
                                 "Messages that were sent in pieces.", {"subject"}};
  telemetry::CounterFamily too_large{
      "trunkline_bus_too_large_total",
      "Messages that were not sent because they are too large; the log says which."};
};
BusMetrics& metrics() {
  static auto* const all = new BusMetrics;
  return *all;
}

// "tl.report" of "tl.report.host-a".
std::string kind_of(const std::string& subject) {
  const size_t first = subject.find('.');
  return subject.substr(0, first == std::string::npos ? first : subject.find('.', first + 1));
}

class NatsBus : public Bus {
 public:
  NatsBus(const BusOptions& options, std::chrono::milliseconds patience) {
    metrics();  // shown from the start
    prefix_ = "tl.inbox." + options.user + "." + unique_token() + ".";
    connect(options, patience);
    inbox_ = subscribe(prefix_ + "*", [this](Message&& message) {
      std::string token = message.subject.substr(message.subject.rfind('.') + 1);
      pending_.answer(token, std::move(message));
    }, {});
    natsConnection_FlushTimeout(connection_, 2000);
  }

  ~NatsBus() override {
    inbox_.reset();
    callbacks_->forget();
    natsConnection_Close(connection_);
    natsConnection_Destroy(connection_);
  }

  bool connected() const override {
    return natsConnection_Status(connection_) == NATS_CONN_STATUS_CONNECTED;
  }

  void on_disconnect(std::function<void()> callback) override {
    callbacks_->add(&Callbacks::on_disconnect, std::move(callback));
  }

  void on_reconnect(std::function<void()> callback) override {
    callbacks_->add(&Callbacks::on_reconnect, std::move(callback));
  }

  void publish(const std::string& subject, std::string_view data, const Headers& headers,
               const std::string& reply) override {
    if (fits(data, headers)) return send(subject, data, headers, reply);
    const size_t room = most_bytes() - kPieceOverhead - bytes_of(headers);
    const size_t count = (data.size() + room - 1) / room;
    if (count > kMostPieces) too_large(subject, data.size(), kMostPieces * room);
    const std::string id = prefix_ + std::to_string(++last_split_);
    for (size_t i = 0; i < count; ++i) {
      const bool last = i + 1 == count;
      Headers piece_headers = last ? headers : Headers();
      piece_headers[kPieceHeader] = piece_name(id, i, count);
      send(subject, piece_data(data.substr(i * room, room)), piece_headers,
           last ? reply : std::string());
    }
    metrics().split.add({kind_of(subject)});
  }

  void request_async(const std::string& subject, std::string_view data,
                     std::chrono::milliseconds timeout, AnswerCallback callback,
                     const Headers& headers) override {
    const std::string token = pending_.add(timeout, std::move(callback));
    try {
      publish(subject, data, headers, prefix_ + token);
    } catch (...) {
      pending_.forget(token);
      throw;
    }
  }

  std::optional<Message> request(const std::string& subject, std::string_view data,
                                 std::chrono::milliseconds timeout,
                                 const Headers& headers) override {
    auto promise = std::make_shared<std::promise<std::optional<Message>>>();
    auto answer = promise->get_future();
    request_async(subject, data, timeout,
                  [promise](std::optional<Message> message) {
                    promise->set_value(std::move(message));
                  },
                  headers);
    std::optional<Message> message = answer.get();
    // The server answers itself when nobody listens: an empty message with status 503.
    if (message && message->data.empty() && message->headers.contains("Status"))
      return std::nullopt;
    return message;
  }

  std::string expect_answer(std::chrono::milliseconds timeout, AnswerCallback callback) override {
    return prefix_ + pending_.add(timeout, std::move(callback));
  }

  std::unique_ptr<Subscription> subscribe(const std::string& subject, MessageCallback callback,
                                          const std::string& queue_group) override {
    auto subscription = std::make_unique<NatsSubscription>(std::move(callback));
    subscription->start(connection_, subject, queue_group);
    return subscription;
  }

  PublishResult publish_stored(const std::string& subject, std::string_view data,
                               const Headers& headers, std::chrono::milliseconds timeout) override {
    if (!fits(data, headers)) too_large(subject, data.size(), most_bytes());
    auto promise = std::make_shared<std::promise<std::optional<Message>>>();
    auto answer = promise->get_future();
    request_async(subject, data, timeout,
                  [promise](std::optional<Message> message) {
                    promise->set_value(std::move(message));
                  },
                  headers);
    return publish_result(answer.get());
  }

  void publish_stored_async(const std::string& subject, std::string_view data,
                            const Headers& headers, std::chrono::milliseconds timeout,
                            std::function<void(PublishResult)> callback) override {
    if (!fits(data, headers)) too_large(subject, data.size(), most_bytes());
    request_async(subject, data, timeout,
                  [callback = std::move(callback)](std::optional<Message> message) {
                    callback(publish_result(message));
                  },
                  headers);
  }

  std::string jetstream_api(const std::string& call, const std::string& json) override {
    const auto answer = request("$JS.API." + call, json, std::chrono::seconds(2), {});
    if (!answer) throw BusUnavailable("JetStream does not answer " + call);
    return answer->data;
  }

 private:
  // Of a message with its headers, as the server says when it is connected to.
  size_t most_bytes() const {
    const int64_t most = natsConnection_GetMaxPayload(connection_);
    return most > 0 ? static_cast<size_t>(most) : 1024 * 1024;
  }
  static size_t bytes_of(const Headers& headers) {
    size_t bytes = 64;  // "NATS/1.0" and the line that ends them
    for (const auto& [key, value] : headers) bytes += key.size() + value.size() + 8;
    return bytes;
  }
  bool fits(std::string_view data, const Headers& headers) const {
    return data.size() + bytes_of(headers) <= most_bytes();
  }

  [[noreturn]] static void too_large(const std::string& subject, size_t bytes, size_t most) {
    metrics().too_large.add();
    const std::string what = "a message of " + std::to_string(bytes) + " bytes to " + subject +
                             " is too large: at most " + std::to_string(most);
    spdlog::error("{}", what);
    throw MessageTooLarge(what);
  }

  void send(const std::string& subject, std::string_view data, const Headers& headers,
            const std::string& reply) {
    if (!connected()) throw BusUnavailable("not connected to NATS");
    natsMsg* raw = nullptr;
    natsStatus status =
        natsMsg_Create(&raw, subject.c_str(), reply.empty() ? nullptr : reply.c_str(), data.data(),
                       static_cast<int>(data.size()));
    const OwnedMsg msg(raw);
    for (const auto& [key, value] : headers) {
      if (status == NATS_OK) status = natsMsgHeader_Set(raw, key.c_str(), value.c_str());
    }
    if (status == NATS_OK) status = natsConnection_PublishMsg(connection_, raw);
    if (status == NATS_MAX_PAYLOAD) too_large(subject, data.size(), most_bytes());
    if (status != NATS_OK) {
      throw BusUnavailable("publish " + subject + ": " + natsStatus_GetText(status));
    }
  }

  static PublishResult publish_result(const std::optional<Message>& message) {
    PublishResult result;
    if (!message) return result;
    const auto json = nlohmann::json::parse(message->data, nullptr, false);
    if (!json.is_object()) {
      result.status = PublishResult::Status::refused;
      result.error = "no stream takes this subject";
    } else if (json.contains("error")) {
      const auto& error = json["error"];
      const int code = error.value("err_code", 0);
      constexpr int kWrongLastSequence = 10071, kWrongLastMsgId = 10070;
      result.status = code == kWrongLastSequence || code == kWrongLastMsgId
                          ? PublishResult::Status::wrong_last_id
                          : PublishResult::Status::refused;
      result.error = error.value("description", std::string());
    } else {
      result.status = json.value("duplicate", false) ? PublishResult::Status::duplicate
                                                     : PublishResult::Status::stored;
      result.sequence = json.value("seq", uint64_t{0});
    }
    return result;
  }

  void connect(const BusOptions& options, std::chrono::milliseconds patience) {
    const auto deadline = Clock::now() + patience;
    natsOptions* raw = nullptr;
    natsOptions_Create(&raw);
    const std::unique_ptr<natsOptions, decltype(&natsOptions_Destroy)> opts(raw,
                                                                            natsOptions_Destroy);
    natsOptions_SetURL(raw, options.url.c_str());
    natsOptions_SetUserInfo(raw, options.user.c_str(), options.password.c_str());
    natsOptions_SetName(raw, options.client_name.c_str());
    natsOptions_SetMaxReconnect(raw, INT_MAX);
    natsOptions_SetReconnectWait(raw, 50);
    natsOptions_SetReconnectJitter(raw, 20, 20);
    natsOptions_SetTimeout(raw, 2000);
    natsOptions_SetPingInterval(raw, 5000);
    // A server that takes nothing must not hold a publisher, and with it the connection's lock.
    natsOptions_SetWriteDeadline(raw, kWriteDeadlineMs);
    natsOptions_SetSendAsap(raw, true);
    natsOptions_SetErrorHandler(raw, nullptr, nullptr);
    auto held = std::make_unique<std::shared_ptr<Callbacks>>(callbacks_);
    natsOptions_SetDisconnectedCB(raw, Callbacks::disconnected, held.get());
    natsOptions_SetReconnectedCB(raw, Callbacks::reconnected, held.get());
    natsOptions_SetClosedCB(raw, Callbacks::closed, held.get());
    while (true) {
      const natsStatus status = natsConnection_Connect(&connection_, raw);
      if (status == NATS_OK) {
        held.release();  // closed() deletes it
        return;
      }
      if (Clock::now() >= deadline) {
        throw BusUnavailable("connect to " + options.url + ": " + natsStatus_GetText(status));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  natsConnection* connection_ = nullptr;
  std::string prefix_;
  std::atomic<uint64_t> last_split_{0};
  PendingAnswers pending_;
  std::shared_ptr<Callbacks> callbacks_ = std::make_shared<Callbacks>();
  std::unique_ptr<Subscription> inbox_;
};

}  // namespace

std::unique_ptr<Bus> Bus::connect(const BusOptions& options, std::chrono::milliseconds patience) {
  return std::make_unique<NatsBus>(options, patience);
}

void ack(Bus& bus, const Message& message) { bus.publish(message.reply, "+ACK"); }
void nak(Bus& bus, const Message& message, std::chrono::milliseconds delay) {
  bus.publish(message.reply, "-NAK {\"delay\": " + std::to_string(delay.count() * 1'000'000) + "}");
}
void in_progress(Bus& bus, const Message& message) { bus.publish(message.reply, "+WPI"); }

}  // namespace trunkline::bus
