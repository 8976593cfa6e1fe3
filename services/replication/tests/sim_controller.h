// A replication process in the simulation: the domain's functions driven as the service drives
// them, over one shared log with compare-and-set and one ownership row. Several of them run side by
// side; each has its own clock, may freeze at any point, and forgets all but the log when it dies.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ownership_clock.h"
#include "replication/domain/instance_order.h"
#include "replication/tests/group_builder.h"
#include "replication/tests/sim_world.h"

namespace trunkline::replication::test {

// The log's database: the group's stream and the ownership row.
struct SimLog {
  std::vector<v1::GroupEvent> events;
  std::vector<TimePoint> recorded;
  OwnershipRow row;
  bool has_session = false;  // the row's owner
  TimePoint away_until;
};

class SimController {
 public:
  SimController(std::string name, Dice& dice, SimWorld& world, SimLog& log,
                std::function<void(const v1::GroupEvent&)> on_event)
      : name_(std::move(name)),
        dice_(dice),
        world_(world),
        log_(log),
        on_event_(std::move(on_event)) {
    start();
  }

  void take(const v1::HostReport& report);
  void tick(const InstanceOrder& order);
  void heal() { frozen_until_ = cut_until_ = TimePoint(); }
  bool owns() const { return ownership_.owns(clock_.at(world_.now)); }
  // An operator's request; false if this one does not own the group.
  bool request(const v1::GroupCommand& command);

  const GroupState& state() const { return state_; }
  const GroupFacts& facts() const { return facts_; }
  TimePoint now() const { return clock_.at(world_.now); }
  std::vector<std::string> violations;

 private:
  struct Late {
    TimePoint due;
    v1::GroupCommand command;
  };

  void start();
  bool log_is_there() const {
    return log_.away_until <= world_.now && cut_until_ <= world_.now;
  }
  void catch_up();
  void keep_ownership();
  void grant(const v1::HostReport& report);
  bool drive(const InstanceOrder& order);
  bool handle(const v1::GroupCommand& command);
  void check_fold();

  std::string name_;
  Dice& dice_;
  SimWorld& world_;
  SimLog& log_;
  std::function<void(const v1::GroupEvent&)> on_event_;
  int lives_ = 0;

  SimClock clock_;
  TimePoint frozen_until_;
  TimePoint cut_until_;  // from the log's database
  OwnershipClock ownership_;
  std::string id_;
  bool owned_ = false;
  TimePoint renew_at_;
  GroupState state_;
  GroupFacts facts_;
  std::vector<Late> late_;
  std::map<std::string, TimePoint> sent_;
};

}  // namespace trunkline::replication::test
