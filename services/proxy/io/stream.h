// A non-blocking socket, plain or TLS, of one loop; and how a coroutine waits for it. Loop's thread
// only. Owners destroy a Stream through Loop::defer(), because events of this round may still come.
#pragma once

#include <openssl/ssl.h>

#include <coroutine>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/io/loop.h"
#include "proxy/io/task.h"

namespace trunkline::proxy {

// The peer is gone, or does not answer in time.
struct Disconnected {
  bool timed_out = false;
};

// What one coroutine waits for, until a deadline.
class Event {
 public:
  class Wait {
   public:
    Wait(Event& event, Loop& loop, SteadyTime deadline)
        : event_(event), loop_(loop), deadline_(deadline) {}
    Wait(const Wait&) = delete;
    ~Wait() { disarm(); }
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting);
    bool await_resume() const noexcept { return !timed_out_; }  // false: the deadline has passed

   private:
    friend class Event;
    void resume(bool timed_out);
    void disarm();
    Event& event_;
    Loop& loop_;
    const SteadyTime deadline_;
    std::coroutine_handle<> waiting_;
    Loop::TimerId timer_;
    bool armed_ = false;
    bool timed_out_ = false;
  };

  Wait wait(Loop& loop, SteadyTime deadline) { return Wait(*this, loop, deadline); }
  bool awaited() const { return wait_ != nullptr; }
  // Resumes who waits, at once.
  void fire() {
    if (wait_ != nullptr) wait_->resume(false);
  }

 private:
  Wait* wait_ = nullptr;
};

class Stream {
 public:
  using Handler = void (*)(void* owner, Stream& stream, uint32_t events);
  // `handler` gets the events that no coroutine waits for.
  Stream(Loop& loop, void* owner, Handler handler);
  ~Stream() { close(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void open(int fd, uint32_t events);
  void close();
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  static constexpr ssize_t kAgain = -1;
  static constexpr ssize_t kBroken = -2;
  // Bytes; 0: the peer has said all (read only); kAgain; kBroken.
  ssize_t read(char* to, size_t size);
  ssize_t write(const char* from, size_t size);
  void shut_down_writing();

  // TLS from now on; handshake() comes next. Takes the session over.
  void use_tls(SSL* tls) { tls_ = tls; }
  SSL* tls() const { return tls_; }
  Task<void> handshake(SteadyTime deadline);  // throws Disconnected

  void want(uint32_t events);
  uint32_t wanted() const { return wanted_; }
  Event::Wait ready(uint32_t events, SteadyTime deadline) {
    want(events);
    return event_.wait(loop_, deadline);
  }

  // Throw Disconnected.
  Task<void> send(std::string_view data, SteadyTime deadline);
  // Reads more behind `to`, at most `limit` bytes.
  Task<void> receive(std::string& to, size_t limit, SteadyTime deadline);

  Loop& loop() { return loop_; }

 private:
  static void on_events(void* self, uint32_t events);
  ssize_t tls_result(int result);

  Loop& loop_;
  void* owner_;
  Handler handler_;
  Watch watch_;
  Event event_;
  int fd_ = -1;
  SSL* tls_ = nullptr;
  uint32_t wanted_ = 0;
  bool tls_wants_out_ = false;
  bool tls_broken_ = false;
};

// Takes whole messages off the front of what a Stream receives.
struct Incoming {
  std::string bytes;
  struct Message {
    char type = 0;
    std::string body;
  };
  // The next message; throws Disconnected, or Malformed if it is longer than `limit`.
  Task<Message> next(Stream& stream, size_t limit, SteadyTime deadline);
};
struct Malformed {};

}  // namespace trunkline::proxy
