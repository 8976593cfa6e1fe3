// One client's connection on its server thread, free of Pistache: reads requests, hands them on one
// at a time, and keeps what the socket did not take. Not thread-safe: lives on one thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "api-gateway/io/http_server.h"
#include "api-gateway/io/mailbox.h"

namespace trunkline::gateway {

class Connection {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Phase {
    reading,   // waits for a request
    asking,    // whether the body that is still to come is wanted
    handling,  // a request is being answered
    pouring,   // its answer has begun and comes in pieces
    writing,   // the socket does not take the rest of a response
    draining,  // answered for the last time; what still comes is thrown away
  };

  // `asks`: somebody answers take_question().
  Connection(int fd, uint64_t id, std::string peer, const HttpServerOptions& options, bool asks,
             Clock::time_point now)
      : options_(options),
        asks_(asks),
        parser_(options.limits),
        fd_(fd),
        id_(id),
        peer_(std::move(peer)),
        since_(now) {}

  ~Connection() {
    *left_ = true;
    if (flow_) flow_->gone = true;
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  uint64_t id() const { return id_; }
  int fd() const { return fd_; }
  Phase phase() const { return phase_; }
  uint64_t serial() const { return serial_; }
  // True from this object's end on.
  const std::shared_ptr<std::atomic<bool>>& left() const { return left_; }
  const std::string& peer() const { return peer_; }
  // Bytes of requests that nobody has taken yet.
  size_t unread_request_bytes() const { return parser_.buffered() + parser_.body_bytes(); }
  size_t unsent_bytes() const { return unsent_.size() - unsent_offset_; }

  // Bytes from the client. False: it sends more than may be kept, drop it.
  bool receive(std::string_view bytes, Clock::time_point now);

  // The next request, if one is whole and none is being answered; phase() is handling then.
  // A stream that cannot be read any further is answered here.
  std::optional<HttpRequest> next_request(std::string_view date, Clock::time_point now);

  // The request to ask about, once, when phase() has become `asking`.
  const HttpRequest* take_question();
  // The client holds more than its share: answers and ends. False: not now, drop it.
  bool overload(std::string_view date, Clock::time_point now);

  // Sends the answer to the request with this serial number; others are too late and ignored.
  void answer(uint64_t serial, const HttpResponse& response, std::string_view date,
              Clock::time_point now);

  // The next letter of an answer, whole or in pieces.
  void take(Mailbox::Letter&& letter, std::string_view date, Clock::time_point now);

  // The socket takes more.
  void send_more(Clock::time_point now);

  // What the clock says. `give_up`: drop it at once.
  enum class Verdict { go_on, give_up };
  Verdict check_time(std::string_view date, Clock::time_point now);

 private:
  void transmit(std::string bytes, Clock::time_point now);
  void flush(Clock::time_point now);
  void after_response(Clock::time_point now);
  void wait_for_body(Clock::time_point now);
  void admitted(const HttpResponse& response, std::string_view date, Clock::time_point now);
  void refuse(const Problem& problem, std::string_view date, Clock::time_point now);

  const HttpServerOptions& options_;
  const bool asks_;
  RequestParser parser_;
  const int fd_;
  const uint64_t id_;
  const std::string peer_;
  Phase phase_ = Phase::reading;
  bool body_pending_ = false;
  bool asked_ = false;
  bool keep_alive_ = true;
  bool head_request_ = false;
  bool chunked_ = true;  // what comes in pieces
  uint64_t serial_ = 0;
  const std::shared_ptr<std::atomic<bool>> left_ = std::make_shared<std::atomic<bool>>(false);
  std::string unsent_;
  size_t unsent_offset_ = 0;
  std::shared_ptr<Mailbox::Flow> flow_;  // of an answer in pieces
  Clock::time_point since_;  // of the phase, or of the first byte of a request
};

}  // namespace trunkline::gateway
