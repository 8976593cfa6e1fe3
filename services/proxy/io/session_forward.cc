#include <utility>

#include "proxy/domain/wire.h"
#include "proxy/io/session.h"

namespace trunkline::proxy {
namespace {

const Refusal kMoved{"57P01",
                     "the server that this connection led to is not the one that serves any more"};
const Refusal kInDoubt{"40003",
                       "the transaction is committed on the primary, but the wait for its standbys "
                       "was cancelled: it may be lost in a failover"};
const Refusal kBrokenOff{"08006", "the connection to the server broke off"};
const Refusal kBroken{"08P01", "invalid message"};

}  // namespace

void Session::enter_forwarding() {
  phase_ = Phase::forwarding;
  if (traffic_.ties() != told_ties_) tell_ties();
  update_wants();
  on_route_change();
  // TLS may hold bytes that were read from the socket already.
  if (phase_ == Phase::forwarding && client_.tls() != nullptr) pump_client();
}

void Session::on_route_change() {
  if (phase_ == Phase::talking) {
    route_event_.fire();
    return;
  }
  if (phase_ != Phase::forwarding) return;
  if (is_pooled() && has_lost_user()) {
    end_with(kMoved);
    return;
  }
  if (!placed_) return;
  const auto route = endpoint_->route();
  switch (fate_of(*route, *placed_)) {
    case Fate::stay:
      wants_carry_ = false;
      return;
    case Fate::cut:
      end_with(kMoved);
      return;
    case Fate::move:
      // Once a route: where it is now may turn out to be the only place.
      if (std::exchange(moved_by_, route) == route) return;
      [[fallthrough]];
    case Fate::carry:
      wants_carry_ = true;
      if (is_movable()) run(carry());
      return;
    case Fate::carry_now:
      if (is_movable()) {
        run(carry());
      } else {
        end_with(kMoved);
      }
  }
}

Fate Session::fate() const {
  return placed_ ? fate_of(*endpoint_->route(), *placed_) : Fate::stay;
}

// What is known of the session's ties goes into reports.
void Session::tell_ties() {
  const TieSet& now = traffic_.ties();
  if (meter_ != nullptr) meter_->ties_changed(told_ties_, now);
  told_ties_ = now;
}

void Session::forward(Stream& stream, uint32_t events) {
  if (&stream == &client_) {
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
      close();
      return;
    }
    if (!flush(to_client_, client_)) return;
    pump_client();
  } else {
    if (!flush(to_server_, server_)) return;
    pump_server();
  }
}

// False: the session is closed.
bool Session::flush(Backlog& backlog, Stream& to) {
  if (backlog.empty()) return true;
  while (!backlog.empty()) {
    const std::string_view rest = std::string_view(backlog.bytes).substr(backlog.at);
    const ssize_t put = to.write(rest.data(), rest.size());
    if (put == Stream::kAgain) return true;
    if (put < 0) {
      close();
      return false;
    }
    backlog.at += static_cast<size_t>(put);
  }
  backlog = {};
  if (&to == &server_ && client_ended_) server_.shut_down_writing();
  update_wants();
  if (&to == &server_) take_held();
  return phase_ == Phase::forwarding;
}

void Session::put(Backlog& backlog, Stream& to, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = to.write(bytes.data(), bytes.size());
    if (put == Stream::kAgain) {
      backlog.bytes.assign(bytes);
      backlog.at = 0;
      update_wants();
      return;
    }
    if (put < 0) {
      // What the other side has still to say (why it closed, perhaps) is passed on first.
      if (&to == &client_) close();
      return;
    }
    bytes.remove_prefix(static_cast<size_t>(put));
  }
}

void Session::pump_client() {
  if (!to_server_.empty() || !held_.empty() || client_ended_) return;
  const ssize_t got = client_.read(client_.loop().scratch(), Loop::kScratchBytes);
  if (got == Stream::kAgain) return;
  if (got == Stream::kBroken) {
    close();
    return;
  }
  if (got == 0) {
    if (traffic_.client_said_goodbye()) {
      close();
      return;
    }
    client_ended_ = true;
    server_.shut_down_writing();
    update_wants();
    return;
  }
  const std::string_view bytes(client_.loop().scratch(), static_cast<size_t>(got));
  if (statements_) {
    take_from_pooled(bytes);
    return;
  }
  if (entrance_.way == Way::from_pool && bytes == context_.pool_reset) resetting_ = true;
  if (!traffic_.from_client(bytes)) {
    end_with(kBroken);
    return;
  }
  if (meter_ != nullptr) meter_->count_bytes(bytes.size(), 0);
  if (traffic_.ties() != told_ties_) tell_ties();
  put(to_server_, server_, bytes);
}

void Session::pump_server() {
  if (!to_client_.empty()) return;
  const ssize_t got = server_.read(server_.loop().scratch(), Loop::kScratchBytes);
  if (got == Stream::kAgain) return;
  if (got == Stream::kBroken) {
    end_with(kBrokenOff);
    return;
  }
  if (got == 0) {
    close();
    return;
  }
  std::string_view bytes(server_.loop().scratch(), static_cast<size_t>(got));
  if (resetting_ && fails_to_reset(bytes)) {
    close();
    return;
  }
  const size_t allowed = traffic_.from_server(bytes);
  const bool all = allowed == bytes.size();
  bytes = bytes.substr(0, allowed);
  if (meter_ != nullptr) meter_->count_bytes(0, bytes.size());
  if (statements_) {
    pass_to_pooled(bytes);
  } else {
    put(to_client_, client_, bytes);
  }
  if (phase_ != Phase::forwarding) return;
  if (!all) {
    if (traffic_.commit_in_doubt()) ++context_.commits_in_doubt;
    end_with(traffic_.commit_in_doubt() ? kInDoubt : kBroken);
    return;
  }
  if (traffic_.ties() != told_ties_) tell_ties();
  if (wants_carry_ && is_movable()) run(carry());
}

void Session::update_wants() {
  uint32_t client = 0;
  uint32_t server = 0;
  if (!to_client_.empty()) client |= EPOLLOUT;
  if (!to_server_.empty()) server |= EPOLLOUT;
  if (to_server_.empty() && held_.empty() && !client_ended_) client |= EPOLLIN | EPOLLRDHUP;
  if (to_client_.empty()) server |= EPOLLIN | EPOLLRDHUP;
  // With no interest a hang-up would still be told, again and again.
  client_.want(client == 0 ? static_cast<uint32_t>(EPOLLET) : client);
  server_.want(server == 0 ? static_cast<uint32_t>(EPOLLET) : server);
}

}  // namespace trunkline::proxy
