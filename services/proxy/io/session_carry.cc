#include <spdlog/spdlog.h>

#include "proxy/domain/wire.h"
#include "proxy/io/session.h"

namespace trunkline::proxy {
namespace {

constexpr std::chrono::seconds kCaptureTime{5};
constexpr size_t kMostAnswer = 64 << 20;  // a prepared statement's text
constexpr char kCancelled[] = "57014";    // by a timeout or a request of the client's that is late

std::string lost(const std::string& why) {
  const std::string text = "the primary moved, and this connection could not be carried over to it";
  return fatal({"08006", why.empty() ? text : text + ": " + why});
}

}  // namespace

// The client is not read meanwhile: what it sends waits in its socket. Who cannot be carried ends
// with the reason where its server is about to go, and stays where it could have stayed.
Task<void> Session::carry() {
  wants_carry_ = false;
  pause_client();
  const SteadyTime begin = std::chrono::steady_clock::now();
  const bool must_leave = fate() != Fate::move;
  CarriedState state;
  std::string last_words;
  try {
    co_await capture(&state, begin + kCaptureTime);
  } catch (const Disconnected&) {
    last_words = lost({});
  }
  if (last_words.empty() && !state.tied_by.empty()) {
    if (!must_leave) co_return;
    ++context_.ended_tied;
    last_words = tied(state.tied_by);
  }
  if (last_words.empty()) {
    const std::string goodbye = message('X', {});
    server_.write(goodbye.data(), goodbye.size());
    leave_place();
    server_.close();
    const SteadyTime until = begin + context_.options.carry_time;
    NodeSession node;
    last_words = co_await connect_to_node(until, false, &node);
    if (last_words.empty()) last_words = co_await restore(state, std::move(node), until);
  }
  if (!last_words.empty()) {
    co_await farewell(std::move(last_words));
    co_return;
  }
  traffic_.forget_hints();
  ++context_.carried;
}

std::string Session::tied(std::string_view by) {
  return fatal({"57P01", "the primary moves, and this connection has what only its server has: " +
                             std::string(by)});
}

// Leaves a reason in `tied_by` if the session has something that cannot be made again.
Task<void> Session::capture(CarriedState* state, SteadyTime deadline) {
  const std::string asked = capture_messages();
  while (true) {
    *state = {};
    co_await server_.send(asked, deadline);
    const std::string error = co_await take_state(state, deadline);
    if (error.empty()) break;
    if (error != kCancelled) {
      state->tied_by = "its state could not be read (" + error + ")";
      co_return;
    }
  }
  take_followed(*state, traffic_.ties(), traffic_.strings_changed());
  if (traffic_.unnamed_is_uncertain()) state->tied_by = "an unnamed statement that is not known";
}

// The SQLSTATE of an error, or nothing.
Task<std::string> Session::take_state(CarriedState* state, SteadyTime deadline) {
  Incoming incoming;
  std::string error;
  while (true) {
    const Incoming::Message got = co_await incoming.next(server_, kMostAnswer, deadline);
    if (got.type == 'D') {
      if (!take_row(*state, got.body)) error = "XX000";
    } else if (got.type == 'E') {
      // A FATAL one is the last that comes.
      if (report_field(got.body, 'V') == "FATAL") throw Disconnected{};
      error = report_field(got.body, 'C');
    } else if (got.type == 'A' || got.type == 'S') {
      const std::string passed_on = message(got.type, got.body);
      co_await client_.send(passed_on, deadline);
    } else if (got.type == 'Z') {
      if (!incoming.bytes.empty()) throw Malformed{};
      co_return got.body == "I" ? error : std::string("25000");
    }
  }
}

// Last words for the client, or nothing. Its parameters are told when all is as it was.
Task<std::string> Session::restore(const CarriedState& state, NodeSession node,
                                   SteadyTime deadline) {
  ServerParameters parameters;
  parameters.take_all(node.parameters);
  const Replay first = replay_begin(state);
  std::string failure(kCancelled);
  while (failure.starts_with(kCancelled)) {
    failure = co_await take_steps(first, &parameters, deadline);
  }
  if (failure.empty()) {
    const Replay rest = replay(state, traffic_.unnamed());
    failure = co_await take_steps(rest, &parameters, deadline);
  }
  if (!failure.empty()) co_return lost(failure);
  const std::string told = parameters.messages();
  co_await client_.send(told, deadline);
  co_return std::string();
}

// Sends and takes the answers. What did not work that must, as "SQLSTATE text".
Task<std::string> Session::take_steps(const Replay& told, ServerParameters* parameters,
                                      SteadyTime deadline) {
  co_await server_.send(told.messages, deadline);
  Incoming incoming;
  std::string failure;
  for (const auto step : told.steps) {
    while (true) {
      const Incoming::Message got = co_await incoming.next(server_, kMostAnswer, deadline);
      if (got.type == 'E') {
        const std::string_view code = report_field(got.body, 'C');
        const bool its_own =
            step == Replay::Step::unnamed ||
            (step == Replay::Step::may_fail && is_the_statements_own(code));
        if (report_field(got.body, 'V') == "FATAL") throw Disconnected{};
        if (!its_own && failure.empty()) {
          failure = std::string(code) + " " + std::string(report_field(got.body, 'M'));
        }
      }
      if (got.type == 'S') parameters->take(got.type, got.body);
      if (got.type != 'Z') continue;
      if (got.body != "I" && failure.empty()) failure = "25000 it would be in a transaction";
      break;
    }
  }
  if (!incoming.bytes.empty()) throw Malformed{};
  co_return failure;
}

}  // namespace trunkline::proxy
