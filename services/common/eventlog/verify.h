// Checks a whole log: every stream contiguous from version 1 in position order, every hash right,
// every chain link right.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "eventlog/recorded_event.h"

namespace trunkline::eventlog {

struct Damage {
  int64_t position = 0;
  std::string stream;
  int64_t version = 0;
  std::string what;  // "hash does not match", "version 4 follows 2", …
};

// Feed it every event in position order. Pure.
class Verifier {
 public:
  // Returns true if the event is sound.
  bool check(const RecordedEvent& event);
  const std::vector<Damage>& damage() const { return damage_; }
  int64_t events() const { return events_; }
  size_t streams() const { return tails_.size(); }

 private:
  struct Tail {
    int64_t version = 0;
    std::string hash;
  };
  std::unordered_map<std::string, Tail> tails_;
  std::vector<Damage> damage_;
  int64_t events_ = 0;
  int64_t last_position_ = 0;
};

}  // namespace trunkline::eventlog
