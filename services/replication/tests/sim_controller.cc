#include "replication/tests/sim_controller.h"

#include "replication/domain/group_failover.h"
#include "replication/domain/group_snapshot.h"
#include "trunkline/v1/snapshot_group.pb.h"

namespace trunkline::replication::test {

void SimController::start() {
  clock_ = SimClock::any(dice_);
  clock_.offset_us %= 2'000'000;  // not compared with another's, but it starts from the wall's time
  id_ = name_ + "-" + std::to_string(++lives_);
  ownership_ = {};
  owned_ = false;
  renew_at_ = TimePoint();
  state_ = {};
  facts_ = {};
  late_.clear();
  sent_.clear();
}

void SimController::check_fold() {
  GroupState again;
  for (uint64_t i = 0; i < state_.version; ++i) evolve(again, log_.events[i], log_.recorded[i]);
  if (again != state_) violations.push_back("the fold of the events is another state");
  v1::GroupSnapshot snapshot;
  to_snapshot(state_, &snapshot);
  if (from_snapshot(snapshot) != state_) violations.push_back("the snapshot is another state");
}

void SimController::catch_up() {
  while (state_.version < log_.events.size()) {
    evolve(state_, log_.events[state_.version], log_.recorded[state_.version]);
  }
}

void SimController::keep_ownership() {
  const TimePoint now = this->now();
  if (now < renew_at_ || !log_is_there()) return;
  renew_at_ = now + (ownership_.owns(now) ? kRenewEvery : milliseconds(250));
  if (log_.row.owner == id_) {
    ++log_.row.renewals;
    log_.has_session = true;
    ownership_.owned_since(now);
  } else {
    ownership_.lost();
    ownership_.saw(log_.row, log_.has_session, now);
    if (ownership_.may_take(now)) {
      facts_.others_lease_until = ownership_.others_until();
      log_.row = {.owner = id_, .renewals = log_.row.renewals + 1};
      log_.has_session = true;
      ownership_.owned_since(now);
    }
  }
}

void SimController::take(const v1::HostReport& report) {
  if (frozen_until_ > world_.now) return;
  if (!observe(facts_, state_, report, now())) return;
  if (owned_ && owns()) grant(report);
}

void SimController::grant(const v1::HostReport& report) {
  const TimePoint now = this->now();
  const auto lease = due_lease(state_, HostName(report.host()), ownership_.left(now));
  if (!lease) return;
  note_lease(facts_, now + milliseconds(lease->duration_ms()));
  v1::LeaseGrant out;
  out.set_agent_id(report.agent_id());
  out.set_sequence(report.sequence());
  *out.add_leases() = *lease;
  world_.send(out, report.host().back() - 'a');
}

bool SimController::handle(const v1::GroupCommand& command) {
  for (int attempt = 0; attempt < 8; ++attempt) {
    const auto outcome = decide(state_, command, facts_, now());
    if (const auto* rejection = std::get_if<Rejection>(&outcome)) {
      if (!command.has_request_switchover() && !command.has_request_failover()) {
        violations.push_back("rejected: " + rejection->rule + ": " + command.ShortDebugString());
      }
      return false;
    }
    const auto* events = std::get_if<std::vector<v1::GroupEvent>>(&outcome);
    if (events == nullptr || !log_is_there()) return false;
    if (state_.version != log_.events.size()) {
      catch_up();
      continue;
    }
    for (const auto& event : *events) {
      log_.events.push_back(event);
      log_.recorded.push_back(world_.now);
      on_event_(event);
    }
    catch_up();
    return true;
  }
  return false;
}

bool SimController::request(const v1::GroupCommand& command) {
  if (frozen_until_ > world_.now || !owned_ || !owns()) return false;
  return handle(command);
}

bool SimController::drive(const InstanceOrder& order) {
  notice(facts_, state_, now());
  if (const auto membership = membership_command(order)) {
    if (handle(*membership)) return true;
  }
  for (const auto& command : commands_from_reports(state_, facts_, now())) {
    if (handle(command)) return true;
  }
  const auto decision = decide_roles(state_, facts_, now());
  if (!decision) return false;
  v1::GroupCommand command;
  *command.mutable_apply_decision()->mutable_decision() = *decision;
  command.mutable_apply_decision()->set_group_version(state_.version);
  if (world_.faults && world_.hardness > 0 && dice_.one_in(60)) {
    // Frozen between deciding and appending: it is appended when it is no owner any more, perhaps.
    frozen_until_ = world_.now + dice_.up_to(milliseconds(9000));
    late_.push_back({frozen_until_, command});
    return false;
  }
  return handle(command);
}

void SimController::tick(const InstanceOrder& order) {
  if (world_.faults && world_.hardness > 0) {
    if (dice_.one_in(900)) frozen_until_ = world_.now + dice_.up_to(milliseconds(9000));
    if (dice_.one_in(900)) {
      check_fold();
      if (log_.row.owner == id_) log_.has_session = false;
      if (dice_.one_in(3) && log_is_there() && log_.row.owner == id_) log_.row.owner.clear();
      start();
    }
    if (dice_.one_in(1500)) {
      log_.away_until = world_.now + dice_.up_to(milliseconds(6000));
      log_.has_session = false;
    }
    if (dice_.one_in(900)) {  // it is cut off, and goes on by what it knows; its session ends
      cut_until_ = world_.now + dice_.up_to(milliseconds(6000));
      if (log_.row.owner == id_) log_.has_session = false;
    }
  }
  if (frozen_until_ > world_.now) return;
  for (const Late& late : late_) handle(late.command);
  late_.clear();
  if (log_is_there() && (owns() || dice_.one_in(3))) catch_up();
  keep_ownership();
  const bool owned = owns();
  if (owned && !owned_) {
    catch_up();
    facts_.owner_since = now();
  }
  owned_ = owned;
  if (!owned) return;
  for (int i = 0; drive(order); ++i) {
    if (i == 80) {
      violations.push_back("the loop does not come to rest");
      break;
    }
    if (frozen_until_ > world_.now) return;
  }
  if (frozen_until_ > world_.now) return;
  for (const auto& task : due_tasks(InstanceId("i"), state_, facts_)) {
    TimePoint& sent = sent_[task.task.task_id()];
    if (sent != TimePoint() && world_.now - sent < milliseconds(500)) continue;
    sent = world_.now;
    world_.send(task.task, task.host.str().back() - 'a');
  }
  const auto probes = due_probes(InstanceId("i"), state_, facts_, now());
  if (!probes.empty()) note_probe(facts_, probes[0].task.probe_upstream().probe_id(), now());
  for (const auto& probe : probes) world_.send(probe.task, probe.host.str().back() - 'a');
}

}  // namespace trunkline::replication::test
