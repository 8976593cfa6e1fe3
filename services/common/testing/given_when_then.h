// Given events, when a command is decided, then these events, or this rejection, or nothing.
// For any aggregate whose events are Protobuf messages; the comparison is on their text.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/decision.h"

namespace trunkline::testing {

inline const char* blame_name(RejectionBlame blame) {
  switch (blame) {
    case RejectionBlame::bad_value: return "bad_value";
    case RejectionBlame::forbidden: return "forbidden";
    case RejectionBlame::not_found: return "not_found";
    case RejectionBlame::conflict: return "conflict";
  }
  return "";
}

// "accepted: {text of each event}", "ignored", "rejected: rule (blame)": one line for a table.
template <class Event>
std::string describe(const Decision<Event>& decision) {
  if (const auto* rejection = std::get_if<Rejection>(&decision)) {
    return "rejected: " + rejection->rule + " (" + blame_name(rejection->blame) + ")";
  }
  if (std::holds_alternative<AlreadySo>(decision)) return "ignored";
  std::string out = "accepted:";
  for (const Event& event : std::get<std::vector<Event>>(decision)) {
    out += " {" + event.ShortDebugString() + "}";
  }
  return out;
}

// "accepted: instance_renamed instance_resized": as above, with only the events' oneof members.
template <class Event>
std::string outline(const Decision<Event>& decision) {
  const auto* events = std::get_if<std::vector<Event>>(&decision);
  if (!events) return describe(decision);
  std::string out = "accepted:";
  for (const Event& event : *events) {
    const auto* oneof = event.GetDescriptor()->oneof_decl(0);
    const auto* field = event.GetReflection()->GetOneofFieldDescriptor(event, oneof);
    out += " " + (field ? field->name() : std::string("?"));
  }
  return out;
}

template <class State, class Event>
class Scenario {
 public:
  using Evolve = std::function<void(State&, const Event&)>;

  Scenario(State initial, Evolve evolve) : state_(std::move(initial)), evolve_(std::move(evolve)) {}

  Scenario& given(const std::vector<Event>& events) {
    for (const Event& event : events) evolve_(state_, event);
    return *this;
  }
  // `decide`: const State& → Decision<Event>. What it accepts is evolved, so that scenes chain.
  template <class Decide>
  Scenario& when(Decide decide) {
    decision_ = decide(std::as_const(state_));
    if (const auto* events = std::get_if<std::vector<Event>>(&decision_)) given(*events);
    return *this;
  }
  Scenario& then(const std::vector<Event>& events) {
    EXPECT_EQ(describe(decision_), describe(Decision<Event>(events)));
    return *this;
  }
  // As outline() and describe() print it.
  Scenario& then(const std::string& expected) {
    EXPECT_EQ(outline(decision_), expected) << message();
    return *this;
  }
  Scenario& then_message_has(const std::string& part) {
    EXPECT_THAT(message(), ::testing::HasSubstr(part));
    return *this;
  }

  std::string message() const {
    const auto* rejection = std::get_if<Rejection>(&decision_);
    return rejection ? rejection->message : "";
  }
  const State& state() const { return state_; }
  const Decision<Event>& decision() const { return decision_; }

 private:
  State state_;
  Evolve evolve_;
  Decision<Event> decision_;
};

}  // namespace trunkline::testing
