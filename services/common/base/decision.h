// The outcome of deciding a command: Accepted (events to append), Ignored (already so) or
// Rejected (which rule was broken). There is no fourth outcome.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace trunkline {

enum class RejectionBlame { bad_value, forbidden, not_found, conflict };

struct Rejection {
  std::string rule;     // stable word, e.g. "disk_must_not_shrink"
  std::string message;  // names the field and what is allowed; safe to show to the asker
  RejectionBlame blame = RejectionBlame::bad_value;
};

struct AlreadySo {
  std::string why;
};

template <class Event>
using Decision = std::variant<std::vector<Event>, AlreadySo, Rejection>;

template <class Event>
Decision<Event> accept(std::vector<Event> events) {
  return Decision<Event>(std::move(events));
}
inline AlreadySo ignore(std::string why) { return AlreadySo{std::move(why)}; }
inline Rejection reject(RejectionBlame blame, std::string rule, std::string message) {
  return Rejection{std::move(rule), std::move(message), blame};
}

}  // namespace trunkline
