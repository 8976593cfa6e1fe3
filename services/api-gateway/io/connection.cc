#include "api-gateway/io/connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace trunkline::gateway {

bool Connection::receive(std::string_view bytes, Clock::time_point now) {
  if (phase_ == Phase::draining) return true;
  if (phase_ == Phase::reading && parser_.buffered() == 0 && !body_pending_) since_ = now;
  parser_.append(bytes);
  // One whole request in hand and one behind it; chunk lines need room too.
  const size_t most = 4 * (options_.limits.head_bytes + options_.limits.body_bytes);
  return parser_.buffered() <= most;
}

std::optional<HttpRequest> Connection::next_request(std::string_view date, Clock::time_point now) {
  if (phase_ != Phase::reading) return std::nullopt;
  auto next = parser_.next();
  if (auto* request = std::get_if<HttpRequest>(&next)) {
    phase_ = Phase::handling;
    body_pending_ = false;
    ++serial_;
    since_ = now;
    keep_alive_ = request->keep_alive;
    head_request_ = request->method == "HEAD";
    chunked_ = request->knows_chunks;
    request->peer = peer_;
    return std::move(*request);
  }
  if (const auto* problem = std::get_if<Problem>(&next)) {
    refuse(*problem, date, now);
    return std::nullopt;
  }
  const bool for_body = std::get<RequestParser::Wait>(next) == RequestParser::Wait::for_body;
  if (for_body && !body_pending_) {
    body_pending_ = true;
    if (asks_) {
      phase_ = Phase::asking;
      asked_ = false;
    } else {
      wait_for_body(now);
    }
  }
  return std::nullopt;
}

void Connection::wait_for_body(Clock::time_point now) {
  since_ = now;
  if (parser_.take_continue_wish()) transmit("HTTP/1.1 100 Continue\r\n\r\n", now);
}

const HttpRequest* Connection::take_question() {
  return phase_ == Phase::asking && !std::exchange(asked_, true) ? parser_.pending_head()
                                                                 : nullptr;
}

void Connection::admitted(const HttpResponse& response, std::string_view date,
                          Clock::time_point now) {
  if (phase_ != Phase::asking) return;
  phase_ = Phase::reading;
  if (response.status == 0) return wait_for_body(now);
  keep_alive_ = false;
  phase_ = Phase::writing;
  transmit(render(response, date, false, false), now);
  if (unsent_.empty()) after_response(now);
}

bool Connection::overload(std::string_view date, Clock::time_point now) {
  if (phase_ != Phase::reading && phase_ != Phase::asking) return false;
  refuse({503, "too_busy", "too much of requests is waited for; come again"}, date, now);
  parser_ = RequestParser(options_.limits);
  return true;
}

void Connection::answer(uint64_t serial, const HttpResponse& response, std::string_view date,
                        Clock::time_point now) {
  if (phase_ != Phase::handling || serial != serial_) return;
  phase_ = Phase::writing;
  transmit(render(response, date, keep_alive_, head_request_), now);
  if (unsent_.empty()) after_response(now);
}

void Connection::take(Mailbox::Letter&& letter, std::string_view date, Clock::time_point now) {
  using Kind = Mailbox::Kind;
  if (letter.kind == Kind::whole) return answer(letter.serial, letter.response, date, now);
  if (letter.kind == Kind::admitted) return admitted(letter.response, date, now);
  const Phase wanted = letter.kind == Kind::head ? Phase::handling : Phase::pouring;
  if (phase_ != wanted || letter.serial != serial_) {
    letter.flow->gone = true;
    return;
  }
  switch (letter.kind) {
    case Kind::whole:
    case Kind::admitted: break;
    case Kind::head:
      phase_ = Phase::pouring;
      keep_alive_ = false;
      flow_ = letter.flow;
      return transmit(render_open_head(letter.response, date, chunked_), now);
    case Kind::piece:
      return transmit(chunked_ ? render_chunk(letter.response.body)
                               : std::move(letter.response.body),
                      now);
    case Kind::end:
      flow_->gone = true;
      flow_.reset();
      phase_ = Phase::writing;
      transmit(chunked_ ? render_last_chunk(letter.response.headers) : std::string(), now);
      if (unsent_.empty()) after_response(now);
  }
}

void Connection::refuse(const Problem& problem, std::string_view date, Clock::time_point now) {
  keep_alive_ = false;
  phase_ = Phase::writing;
  transmit(render({problem.code, "application/json", {}, to_json(problem)}, date, false, false),
           now);
  if (unsent_.empty()) after_response(now);
}

void Connection::transmit(std::string bytes, Clock::time_point now) {
  since_ = now;
  if (unsent_.empty()) {
    unsent_ = std::move(bytes);
  } else {
    unsent_ += bytes;
  }
  flush(now);
}

// As much as the socket takes without waiting; the rest is kept.
void Connection::flush(Clock::time_point now) {
  while (unsent_bytes() > 0) {
    const ssize_t count = ::send(fd_, unsent_.data() + unsent_offset_, unsent_bytes(),
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count < 0) break;  // gone: the reading side tells
    since_ = now;
    unsent_offset_ += static_cast<size_t>(count);
  }
  unsent_ = std::string();
  unsent_offset_ = 0;
  if (flow_) flow_->waits = false;
}

void Connection::send_more(Clock::time_point now) {
  flush(now);
  if (phase_ == Phase::writing && unsent_.empty()) after_response(now);
}

void Connection::after_response(Clock::time_point now) {
  since_ = now;
  if (keep_alive_) {
    phase_ = Phase::reading;
    return;
  }
  phase_ = Phase::draining;
  // The answer must arrive before the end: a close with unread input would reset it away.
  ::shutdown(fd_, SHUT_WR);
}

Connection::Verdict Connection::check_time(std::string_view date, Clock::time_point now) {
  const auto elapsed = now - since_;
  switch (phase_) {
    case Phase::asking:
    case Phase::handling: return Verdict::go_on;
    case Phase::pouring:
      return unsent_bytes() > 0 && elapsed > options_.write_timeout ? Verdict::give_up
                                                                    : Verdict::go_on;
    case Phase::writing:
      return elapsed > options_.write_timeout ? Verdict::give_up : Verdict::go_on;
    case Phase::draining:
      return elapsed > std::chrono::seconds(1) ? Verdict::give_up : Verdict::go_on;
    case Phase::reading: break;
  }
  if (parser_.buffered() == 0 && !body_pending_) {
    return elapsed > options_.keepalive ? Verdict::give_up : Verdict::go_on;
  }
  if (elapsed > (body_pending_ ? options_.body_timeout : options_.head_timeout)) {
    refuse({408, "request_timeout", "the request did not come in time"}, date, now);
  }
  return Verdict::go_on;
}

}  // namespace trunkline::gateway
