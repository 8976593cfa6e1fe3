#include "proxy/io/session.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

constexpr std::chrono::seconds kFarewellTime{1};

}  // namespace

Session::Session(Worker& worker, ClientPeer peer, Entrance entrance)
    : worker_(worker),
      context_(worker.context),
      loopback_(peer.loopback),
      accepted_fd_(peer.fd),
      newcomer_(entrance.way == Way::from_pool ? NewcomerPlace()
                                               : NewcomerPlace(context_, peer.address)),
      entrance_(std::move(entrance)),
      client_(worker.loop, this, &Session::on_events),
      server_(worker.loop, this, &Session::on_events) {}

Session::~Session() = default;

void Session::start() {
  client_.open(accepted_fd_, EPOLLIN | EPOLLRDHUP);
  run(log_in());
}

void Session::run(Task<void> work) {
  phase_ = Phase::talking;
  task_ = supervise(std::move(work));
  task_.start();
}

// What a coroutine ends with: forwarding, unless it closed the session. Its frame is destroyed
// later, because it is still on the stack here.
Task<void> Session::supervise(Task<void> work) {
  try {
    co_await work;
  } catch (const Disconnected&) {
    close();
  } catch (const Malformed&) {
    close();
  } catch (const NodeRefused&) {
    close();
  } catch (const std::exception& error) {
    spdlog::error("a session ends: {}", error.what());
    close();
  }
  if (phase_ == Phase::closed) co_return;
  worker_.loop.defer([this] {
    if (phase_ == Phase::closed) return;
    task_ = {};
    enter_forwarding();
  });
}

void Session::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  client_.close();
  leave_place();
  server_.close();
  if (cancel_key_) context_.cancel_keys.remove(*cancel_key_);
  if (endpoint_) {
    if (meter_ != nullptr) {
      meter_->ties_changed(told_ties_, {});
      meter_->session_closed();
    }
    worker_.unroll(*endpoint_, place_in_worker_);
    dismiss();
    pool_place_.reset();
  }
  share_.reset();
  worker_.bury(this);
}

// Without a server it takes no one's place: a pool connects again at once.
void Session::dismiss() {
  if (std::exchange(admitted_, false)) endpoint_->dismiss(entrance_.way);
}

// A client that is still sending would lose what it was told when its socket is closed with bytes
// unread; it gets a moment.
Task<void> Session::farewell(std::string last_words) {
  const SteadyTime deadline = std::chrono::steady_clock::now() + kFarewellTime;
  leave_place();
  server_.close();
  dismiss();
  co_await client_.send(last_words, deadline);
  client_.shut_down_writing();
  std::string thrown_away;
  while (true) {
    co_await client_.receive(thrown_away, Loop::kScratchBytes, deadline);
    thrown_away.clear();
  }
}

// Cuts a session that forwards. Within a message to the client nothing can be said.
void Session::end_with(const Refusal& why) {
  std::string last_words = to_client_.bytes.substr(to_client_.at);
  to_client_ = {};
  if (traffic_.server_at_boundary()) last_words += fatal(why);
  run(farewell(std::move(last_words)));
}

void Session::on_events(void* self, Stream& stream, uint32_t events) {
  auto* session = static_cast<Session*>(self);
  if (session->phase_ == Phase::closed) return;
  if (session->phase_ == Phase::forwarding) {
    session->forward(stream, events);
    return;
  }
  // A coroutine waits for something else.
  if (&stream != &session->client_) {
    stream.want(EPOLLET);
  } else if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) {
    session->close();
  } else {
    session->pause_client();
  }
}

// Without level-triggered interest, so that data that waits does not wake us again and again.
void Session::pause_client() { client_.want(EPOLLRDHUP | EPOLLET); }

}  // namespace trunkline::proxy
