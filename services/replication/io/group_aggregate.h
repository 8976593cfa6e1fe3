// The group as the command shell takes it.
#pragma once

#include <string>

#include "replication/domain/group_decide.h"
#include "replication/domain/group_evolve.h"
#include "replication/domain/group_state.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

struct GroupAggregate {
  using State = GroupState;
  using Command = v1::GroupCommand;
  using Event = v1::GroupEvent;
  // What was reported of the group, for operators' requests; `now` is on the facts' clock.
  struct Facts {
    const GroupFacts& reported;
    TimePoint now;
  };
  static constexpr const char* kName = "group";
  static State initial(const std::string&) { return {}; }
  static Decision<Event> decide(const State& state, const Command& command, const Facts& facts,
                                TimePoint) {
    return replication::decide(state, command, facts.reported, facts.now);
  }
  static void evolve(State& state, const Event& event, TimePoint recorded_at) {
    replication::evolve(state, event, recorded_at);
  }
};

}  // namespace trunkline::replication
