// What is answered when a request is refused: {"type": "<rule>", "code": <status>, "message": …}.
// The message names the field and what is allowed, and never holds a secret. Pure.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace trunkline::gateway {

struct Problem {
  int code = 400;       // HTTP status
  std::string type;     // stable word for the rule
  std::string message;
};

// A value, or why there is none.
template <class T>
class Outcome {
 public:
  Outcome(T value) : held_(std::move(value)) {}            // NOLINT: implicit by design
  Outcome(Problem problem) : held_(std::move(problem)) {}  // NOLINT: implicit by design
  explicit operator bool() const { return held_.index() == 0; }
  T& operator*() { return std::get<0>(held_); }
  const T& operator*() const { return std::get<0>(held_); }
  T* operator->() { return &std::get<0>(held_); }
  const T* operator->() const { return &std::get<0>(held_); }
  const Problem& problem() const { return std::get<1>(held_); }

 private:
  std::variant<T, Problem> held_;
};

std::string to_json(const Problem& problem);

// `text` for a message: printable, at most 80 bytes, cut on a character.
std::string shown(std::string_view text);

inline Problem bad_request(std::string type, std::string message) {
  return Problem{400, std::move(type), std::move(message)};
}
inline Problem not_found(std::string what) {
  return Problem{404, "not_found", std::move(what) + " is not there"};
}

}  // namespace trunkline::gateway
