#include "proxy/io/stream.h"

#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "proxy/domain/wire.h"

namespace trunkline::proxy {

void Event::Wait::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  event_.wait_ = this;
  timer_ = loop_.at(deadline_, [this] {
    armed_ = false;
    resume(true);
  });
  armed_ = true;
}

void Event::Wait::disarm() {
  if (event_.wait_ == this) event_.wait_ = nullptr;
  if (armed_) loop_.cancel(timer_);
  armed_ = false;
}

void Event::Wait::resume(bool timed_out) {
  disarm();
  timed_out_ = timed_out;
  waiting_.resume();
}

Stream::Stream(Loop& loop, void* owner, Handler handler)
    : loop_(loop), owner_(owner), handler_(handler), watch_{&Stream::on_events, this} {}

void Stream::open(int fd, uint32_t events) {
  close();
  fd_ = fd;
  wanted_ = events;
  loop_.add(fd, events, &watch_);
}

// With the word that TLS ends here, if the socket takes it: without it the other side takes what
// came before for cut off.
void Stream::close() {
  if (tls_ != nullptr) {
    ERR_clear_error();
    if (SSL_is_init_finished(tls_) == 1 && !tls_broken_) SSL_shutdown(tls_);
    SSL_free(std::exchange(tls_, nullptr));
  }
  tls_broken_ = false;
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  tls_wants_out_ = false;
}

void Stream::on_events(void* self, uint32_t events) {
  auto* stream = static_cast<Stream*>(self);
  if (!stream->is_open()) return;
  if (stream->event_.awaited()) {
    stream->event_.fire();
  } else {
    stream->handler_(stream->owner_, *stream, events);
  }
}

void Stream::want(uint32_t events) {
  if (tls_wants_out_) events |= EPOLLOUT;
  if (events == wanted_ || fd_ < 0) return;
  wanted_ = events;
  loop_.change(fd_, events, &watch_);
}

ssize_t Stream::tls_result(int result) {
  if (result > 0) return result;
  switch (SSL_get_error(tls_, result)) {
    case SSL_ERROR_WANT_READ:
      return kAgain;
    case SSL_ERROR_WANT_WRITE:
      tls_wants_out_ = true;
      return kAgain;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      tls_broken_ = true;
      return kBroken;
  }
}

ssize_t Stream::read(char* to, size_t size) {
  if (tls_ != nullptr) {
    ERR_clear_error();
    tls_wants_out_ = false;
    const int got = SSL_read(tls_, to, static_cast<int>(std::min<size_t>(size, INT_MAX)));
    return tls_result(got);
  }
  const ssize_t got = recv(fd_, to, size, 0);
  if (got >= 0) return got;
  return errno == EAGAIN || errno == EINTR ? kAgain : kBroken;
}

ssize_t Stream::write(const char* from, size_t size) {
  if (tls_ != nullptr) {
    ERR_clear_error();
    tls_wants_out_ = false;
    const int put = SSL_write(tls_, from, static_cast<int>(std::min<size_t>(size, INT_MAX)));
    const ssize_t result = tls_result(put);
    return result == 0 ? kBroken : result;
  }
  const ssize_t put = ::send(fd_, from, size, MSG_NOSIGNAL);
  if (put >= 0) return put;
  return errno == EAGAIN || errno == EINTR ? kAgain : kBroken;
}

void Stream::shut_down_writing() {
  if (tls_ != nullptr) SSL_shutdown(tls_);
  shutdown(fd_, SHUT_WR);
}

Task<void> Stream::handshake(SteadyTime deadline) {
  while (true) {
    ERR_clear_error();
    const int result = SSL_do_handshake(tls_);
    if (result == 1) co_return;
    const int error = SSL_get_error(tls_, result);
    uint32_t events = 0;
    if (error == SSL_ERROR_WANT_READ) events = EPOLLIN;
    if (error == SSL_ERROR_WANT_WRITE) events = EPOLLOUT;
    if (events == 0) throw Disconnected{};
    const bool in_time = co_await ready(events, deadline);
    if (!in_time) throw Disconnected{true};
  }
}

Task<void> Stream::send(std::string_view data, SteadyTime deadline) {
  while (!data.empty()) {
    const ssize_t put = write(data.data(), data.size());
    if (put > 0) {
      data.remove_prefix(static_cast<size_t>(put));
      continue;
    }
    if (put != kAgain) throw Disconnected{};
    const bool in_time = co_await ready(EPOLLOUT, deadline);
    if (!in_time) throw Disconnected{true};
  }
}

Task<void> Stream::receive(std::string& to, size_t limit, SteadyTime deadline) {
  while (true) {
    const size_t size = std::min(limit, Loop::kScratchBytes);
    const ssize_t got = read(loop_.scratch(), size);
    if (got > 0) {
      to.append(loop_.scratch(), static_cast<size_t>(got));
      co_return;
    }
    if (got != kAgain) throw Disconnected{};
    const bool in_time = co_await ready(EPOLLIN | EPOLLRDHUP, deadline);
    if (!in_time) throw Disconnected{true};
  }
}

Task<Incoming::Message> Incoming::next(Stream& stream, size_t limit, SteadyTime deadline) {
  while (true) {
    if (bytes.size() >= kHeader) {
      const size_t size = get_uint32(bytes.data() + 1);
      if (size < 4 || size > limit) throw Malformed{};
      if (bytes.size() >= size + 1) {
        Message out{bytes[0], bytes.substr(kHeader, size - 4)};
        bytes.erase(0, size + 1);
        co_return out;
      }
    }
    co_await stream.receive(bytes, Loop::kScratchBytes, deadline);
  }
}

}  // namespace trunkline::proxy
