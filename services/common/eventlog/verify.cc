#include "eventlog/verify.h"

namespace trunkline::eventlog {

bool Verifier::check(const RecordedEvent& event) {
  const size_t before = damage_.size();
  const auto report = [&](std::string what) {
    damage_.push_back({event.position, event.stream, event.version, std::move(what)});
  };
  ++events_;
  if (event.position <= last_position_) {
    report("position is not after " + std::to_string(last_position_));
  }
  last_position_ = event.position;
  Tail& tail = tails_[event.stream];
  if (tail.hash.empty()) tail.hash = std::string(32, '\0');
  if (event.version != tail.version + 1) {
    report("version " + std::to_string(event.version) + " follows " +
           std::to_string(tail.version));
  }
  if (event.previous_hash != tail.hash) {
    report("the event before it is not the one that it was chained to");
  }
  if (compute_hash(event) != event.hash) report("its content does not match its hash");
  tail.version = event.version;
  tail.hash = event.hash;
  return damage_.size() == before;
}

}  // namespace trunkline::eventlog
