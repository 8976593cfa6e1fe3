#include <spdlog/spdlog.h>

#include "proxy/domain/wire.h"
#include "proxy/io/session.h"

namespace trunkline::proxy {
namespace {

constexpr std::chrono::seconds kCaptureTime{5};
constexpr size_t kMostAnswer = 64 << 20;  // a prepared statement's text

std::string lost() {
  return fatal({"08006", "the primary moved, and this connection could not be carried over to it"});
}

}  // namespace

// The client is not read meanwhile: what it sends waits in its socket. Whoever cannot be carried is
// left where he is.
Task<void> Session::carry() {
  wants_carry_ = false;
  pause_client();
  const SteadyTime begin = std::chrono::steady_clock::now();
  CarriedState state;
  std::string last_words;
  bool captured = false;
  try {
    captured = co_await capture(&state, begin + kCaptureTime);
  } catch (const Disconnected&) {
    last_words = lost();
  }
  if (last_words.empty() && !captured) {
    rooted_ = true;
    co_return;
  }
  if (last_words.empty()) {
    const std::string goodbye = message('X', {});
    server_.write(goodbye.data(), goodbye.size());
    leave_place();
    server_.close();
    const SteadyTime until = begin + context_.options.carry_time;
    NodeSession node;
    last_words = co_await connect_to_node(until, false, &node);
    if (last_words.empty()) {
      co_await client_.send(node.parameters, until);
      const bool restored = co_await restore(state, until);
      if (!restored) last_words = lost();
    }
  }
  if (!last_words.empty()) {
    co_await farewell(std::move(last_words));
    co_return;
  }
  ++context_.carried;
}

// False: the session has something that is nowhere but in its server.
Task<bool> Session::capture(CarriedState* state, SteadyTime deadline) {
  const std::string sql = capture_sql();
  co_await server_.send(sql, deadline);
  Incoming incoming;
  bool understood = true;
  while (true) {
    const Incoming::Message got = co_await incoming.next(server_, kMostAnswer, deadline);
    if (got.type == 'D') {
      understood = take_row(*state, got.body) && understood;
    } else if (got.type == 'E') {
      understood = false;
      // A FATAL one is the last that comes.
      if (report_field(got.body, 'V') == "FATAL") throw Disconnected{};
    } else if (got.type == 'S' || got.type == 'A') {
      const std::string passed_on = message(got.type, got.body);
      co_await client_.send(passed_on, deadline);
    } else if (got.type == 'Z') {
      if (!incoming.bytes.empty()) throw Malformed{};
      co_return understood && state->rooted_by.empty();
    }
  }
}

Task<bool> Session::restore(const CarriedState& state, SteadyTime deadline) {
  const Replay told = replay(state);
  co_await server_.send(told.messages, deadline);
  Incoming incoming;
  size_t ready = 0;
  while (ready < told.ready_count) {
    const Incoming::Message got = co_await incoming.next(server_, kMostAnswer, deadline);
    if (got.type == 'E') co_return false;
    if (got.type == 'S') {
      const std::string passed_on = message(got.type, got.body);
      co_await client_.send(passed_on, deadline);
    }
    if (got.type == 'Z') ++ready;
  }
  co_return incoming.bytes.empty();
}

}  // namespace trunkline::proxy
