// One client's connection on its server thread, free of Pistache: reads requests, hands them on one
// at a time, and keeps what the socket did not take. Not thread-safe: lives on one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "api-gateway/io/http_server.h"
#include "api-gateway/io/mailbox.h"

namespace trunkline::gateway {

class Connection {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Phase {
    reading,   // waits for a request
    handling,  // a request is being answered
    pouring,   // its answer has begun and comes in pieces
    writing,   // the socket does not take the rest of a response
    draining,  // answered for the last time; what still comes is thrown away
  };

  Connection(int fd, uint64_t id, std::string peer, const HttpServerOptions& options,
             Clock::time_point now)
      : options_(options),
        parser_(options.limits),
        fd_(fd),
        id_(id),
        peer_(std::move(peer)),
        since_(now) {}

  ~Connection() {
    if (flow_) flow_->gone = true;
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  uint64_t id() const { return id_; }
  int fd() const { return fd_; }
  Phase phase() const { return phase_; }
  uint64_t serial() const { return serial_; }
  size_t unsent_bytes() const { return unsent_.size() - unsent_offset_; }

  // Bytes from the client. False: it sends more than may be kept, drop it.
  bool receive(std::string_view bytes, Clock::time_point now);

  // The next request, if one is whole and none is being answered; phase() is handling then.
  // A stream that cannot be read any further is answered here.
  std::optional<HttpRequest> next_request(std::string_view date, Clock::time_point now);

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
  void refuse(const Problem& problem, std::string_view date, Clock::time_point now);

  const HttpServerOptions& options_;
  RequestParser parser_;
  const int fd_;
  const uint64_t id_;
  const std::string peer_;
  Phase phase_ = Phase::reading;
  bool body_pending_ = false;
  bool keep_alive_ = true;
  bool head_request_ = false;
  bool chunked_ = true;  // what comes in pieces
  uint64_t serial_ = 0;
  std::string unsent_;
  size_t unsent_offset_ = 0;
  std::shared_ptr<Mailbox::Flow> flow_;  // of an answer in pieces
  Clock::time_point since_;  // of the phase, or of the first byte of a request
};

}  // namespace trunkline::gateway
