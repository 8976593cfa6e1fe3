// What needs somebody's attention: raised once it has been wrong for as long as its rule says,
// cleared once it has been right for as long as its rule says. Pure; not thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace trunkline::lookup {

enum class Severity { warning, critical };
std::string_view to_string(Severity severity);

struct AlertRule {
  std::string_view name;
  Severity severity;
  std::chrono::seconds raise_after;
  std::chrono::seconds clear_after;
  std::string_view about;  // one sentence
};
std::span<const AlertRule> alert_rules();
const AlertRule* find_alert_rule(std::string_view name);

// Something that is wrong at this moment.
struct Observed {
  std::string rule;     // of alert_rules()
  std::string subject;  // "host/host-a", "instance/<uuid>", "node/<uuid>", "log"
  std::string detail;
  std::string group = {};  // "project/<uuid>": all of a rule and group are one alert
};

struct Alert {
  std::string rule;
  std::string subject;
  std::string detail;  // as observed last
  TimePoint since;     // when it began to be wrong
  TimePoint raised_at;
  bool operator==(const Alert&) const = default;
};

class AlertBook {
 public:
  struct Change {
    bool raised = false;  // else cleared
    Alert alert;
  };
  // `wrong` is all that is wrong now. `now` is of a clock that does not step.
  std::vector<Change> look(const std::vector<Observed>& wrong, TimePoint now);

  // By rule and subject; where they have a group, one for all, of that subject, which counts them.
  std::vector<Alert> raised() const;
  // Wrong at the last look, raised or not: where a level has two marks, which of them counts.
  bool is_wrong(std::string_view rule, std::string_view subject) const;

 private:
  using Key = std::pair<std::string, std::string>;  // rule and subject
  struct Entry {
    Alert alert;
    std::string group;
    bool raised = false;
    bool wrong = true;
    TimePoint right_since;
  };
  std::map<Key, Alert> in_groups() const;

  std::map<Key, Entry> entries_;
  std::map<Key, Alert> raised_;  // at the last look
};

// One JSON object.
std::string alert_json(const Alert& alert);

}  // namespace trunkline::lookup
