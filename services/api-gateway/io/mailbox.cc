#include "api-gateway/io/mailbox.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "api-gateway/domain/problem.h"

namespace trunkline::gateway {
namespace {

// Mailboxes that this thread has to wake when its last ReplyBatch ends.
thread_local int batches = 0;
thread_local std::vector<std::shared_ptr<Mailbox>> to_wake;

class ReplyToMailbox : public Reply {
 public:
  ReplyToMailbox(std::shared_ptr<Mailbox> mailbox, int fd, uint64_t connection, uint64_t serial,
                 std::shared_ptr<std::atomic<bool>> left)
      : mailbox_(std::move(mailbox)),
        fd_(fd),
        connection_(connection),
        serial_(serial),
        left_(std::move(left)) {}
  ~ReplyToMailbox() override {
    if (sent_) return;
    post({503,
          "application/json",
          {{"Retry-After", "1"}},
          to_json({503, "unavailable", "the request was not answered; ask again"})});
  }
  void send(HttpResponse response) override {
    if (!sent_.exchange(true)) post(std::move(response));
  }
  void begin(HttpResponse head) override {
    if (sent_.exchange(true)) return;
    flow_ = std::make_shared<Mailbox::Flow>();
    post(std::move(head), Mailbox::Kind::head);
  }
  bool ready() const override { return flow_ && !flow_->waits.load() && !flow_->gone.load(); }
  bool gone() const override { return !flow_ || flow_->gone.load(); }
  bool wanted() const override { return !left_->load(); }
  void push(std::string piece) override {
    if (gone()) return;
    flow_->waits = true;
    HttpResponse response;
    response.body = std::move(piece);
    post(std::move(response), Mailbox::Kind::piece);
  }
  void end(Trailers trailers) override {
    if (gone()) return;
    HttpResponse response;
    response.headers = std::move(trailers);
    post(std::move(response), Mailbox::Kind::end);
  }

 private:
  void post(HttpResponse response, Mailbox::Kind kind = Mailbox::Kind::whole) {
    mailbox_->post({fd_, connection_, serial_, std::move(response), kind, flow_});
  }

  const std::shared_ptr<Mailbox> mailbox_;
  const int fd_;
  const uint64_t connection_;
  const uint64_t serial_;
  const std::shared_ptr<std::atomic<bool>> left_;
  std::atomic<bool> sent_{false};
  std::shared_ptr<Mailbox::Flow> flow_;  // set before anybody else knows of it
};

}  // namespace

Mailbox::Mailbox() : wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (wake_.get() < 0) throw std::runtime_error("eventfd: " + std::string(strerror(errno)));
}

void Mailbox::post(Letter letter) {
  if (at_hand_.load() != nullptr && std::this_thread::get_id() == owner_.load()) {
    at_hand_.load()->push_back(std::move(letter));
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      if (letter.flow) letter.flow->gone = true;
      return;
    }
    letters_.push_back(std::move(letter));
    if (letters_.size() > 1) return;  // whoever put the first one wakes the owner
  }
  if (batches > 0) {
    to_wake.push_back(shared_from_this());
  } else {
    wake();
  }
}

void Mailbox::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t count = ::write(wake_.get(), &one, sizeof one);
}

// The descriptor is emptied first: a letter that comes in between wakes once more.
std::vector<Mailbox::Letter> Mailbox::take() {
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t count = ::read(wake_.get(), &ignored, sizeof ignored);
  const std::lock_guard lock(mutex_);
  return std::exchange(letters_, {});
}

void Mailbox::keep_at_hand(std::vector<Letter>* letters) {
  owner_ = std::this_thread::get_id();
  at_hand_ = letters;
}

void Mailbox::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (const Letter& letter : letters_) {
    if (letter.flow) letter.flow->gone = true;
  }
  letters_.clear();
}

std::shared_ptr<Reply> reply_through(std::shared_ptr<Mailbox> mailbox, int fd, uint64_t connection,
                                     uint64_t serial, std::shared_ptr<std::atomic<bool>> left) {
  return std::make_shared<ReplyToMailbox>(std::move(mailbox), fd, connection, serial,
                                          std::move(left));
}

ReplyBatch::ReplyBatch() { ++batches; }

ReplyBatch::~ReplyBatch() {
  if (--batches > 0) return;
  for (const auto& mailbox : std::exchange(to_wake, {})) mailbox->wake();
}

}  // namespace trunkline::gateway
