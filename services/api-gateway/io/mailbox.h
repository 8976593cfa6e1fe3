// The way of a reply from any thread to the server thread that owns its connection.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "api-gateway/io/http_server.h"

namespace trunkline::gateway {

class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  ~UniqueFd() { reset(-1); }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  int get() const { return fd_; }
  void reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

// What other threads leave for a server thread. Outlives it: a late reply finds it closed.
// Thread-safe unless said otherwise.
class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  // How far a body that comes in pieces has got.
  struct Flow {
    std::atomic<bool> waits{false};  // a piece has not left yet
    std::atomic<bool> gone{false};   // nothing more will leave
  };
  // admitted: go on with the body, if the response has no status.
  enum class Kind { whole, head, piece, end, admitted };
  struct Letter {
    int fd = -1;
    uint64_t connection = 0;  // never used again, unlike a descriptor
    uint64_t serial = 0;      // of the request that is answered
    HttpResponse response;
    Kind kind = Kind::whole;     // of a piece, the body alone counts, of an end, the headers
    std::shared_ptr<Flow> flow;  // but of a whole one
  };

  Mailbox();  // throws std::runtime_error without descriptors

  void post(Letter letter);
  void wake();
  // All letters; the owner's thread only.
  std::vector<Letter> take();
  // While set, what the owner's thread posts goes straight to `letters`. Owner's thread only.
  void keep_at_hand(std::vector<Letter>* letters);
  // Letters are thrown away from here on.
  void close();
  // Readable when there are letters.
  int fd() const { return wake_.get(); }

 private:
  UniqueFd wake_;
  std::mutex mutex_;
  std::vector<Letter> letters_;
  bool closed_ = false;
  std::atomic<std::thread::id> owner_{};
  std::atomic<std::vector<Letter>*> at_hand_{nullptr};
};

// A reply that becomes a letter; 503 when it is dropped unanswered. `left`: set when the client has
// gone.
std::shared_ptr<Reply> reply_through(std::shared_ptr<Mailbox> mailbox, int fd, uint64_t connection,
                                     uint64_t serial, std::shared_ptr<std::atomic<bool>> left);

}  // namespace trunkline::gateway
