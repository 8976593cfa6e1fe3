// A failover or switchover as a trace of its own: from the suspicion (or the request) until its
// primary is open. The ids of its root follow from instance and term, so that whoever owns the
// group at its end tells it, also if another process began it. Not thread-safe.
#pragma once

#include <string>

#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

class FailoverTrace {
 public:
  // The parent of what `body` leads to; empty if it is part of no failover.
  static std::string parent_of(const std::string& uuid, const GroupState& state,
                               const v1::GroupCommand& body);
  // Of what is done while the group is as it is.
  static std::string parent_of(const std::string& uuid, const GroupState& state);

  // Before a command is decided. `now` is of the clock of `facts`.
  void before(const GroupState& state, const GroupFacts& facts, const v1::GroupCommand& body,
              TimePoint now);
  // After it was accepted; `cause` is the traceparent of what led to the failover.
  void after(const std::string& uuid, const GroupState& state, const std::string& cause);

 private:
  void tell(const std::string& uuid, const Failover& failover, const std::string& cause,
            const char* error) const;

  std::optional<Failover> under_way_;  // before the command
  uint64_t suspected_term_ = 0;        // whose beginning this process has seen
  TimePoint suspected_at_;             // on the wall's clock
  std::string rule_;
};

}  // namespace trunkline::replication
