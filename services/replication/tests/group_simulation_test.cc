// Whole lives of groups under faults, one a seed: formation, growing, shrinking, changes of the
// sync number, lost standbys, failovers, switchovers, deletion; losses, delays, doubles, reorders
// on the bus; cut networks, dead and frozen hosts, agents and controllers, clocks that drift.
// Held in the end: each decision about a failover, taken again from what was recorded with it, is
// the same.
// Held at every instant: no write that was acknowledged under a sync set is missing on a node that
// opens, never two nodes accept writes, terms and timelines grow and have one promotion each.
//
//   TRUNKLINE_SEED=<n>    replay one seed, told step by step
//   TRUNKLINE_SEEDS=<n>   how many
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "replication/domain/group_replay.h"
#include "replication/domain/instance_order.h"
#include "replication/tests/group_builder.h"
#include "replication/tests/sim_controller.h"
#include "replication/tests/sim_world.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::replication::test {
namespace {

constexpr milliseconds kTick{50};
constexpr seconds kFormsFor{8};  // before the harder faults begin
constexpr seconds kFaultsFor{25};
constexpr seconds kMustSettleIn{200};
constexpr seconds kReplacedAfter{12};  // a destroyed host's nodes
constexpr seconds kOperatorAfter{25};  // of trying, an operator accepts that writes are lost
constexpr seconds kHonestFor{60};  // then an order that cannot be met is given up
constexpr uint64_t kSeeds = 1200;

// What may be waited for at the end because the order cannot be met.
const std::set<std::string> kHonestWaits = {"sync_number_unreachable", "leaving_primary",
                                            "no_first_primary_possible"};

class Life {
 public:
  explicit Life(uint64_t seed, bool is_told)
      : dice_(seed), world_(dice_, at(0)), is_told_(is_told), end_of_faults_(at(0) + kFaultsFor) {
    const auto on_event = [this](const v1::GroupEvent& event) {
      tell(event);
      check(event);
    };
    controllers_.push_back(
        std::make_unique<SimController>("a", dice_, world_, log_, on_event));
    controllers_.push_back(
        std::make_unique<SimController>("b", dice_, world_, log_, on_event));
    hardness_ = dice_.below(4);
    nodes_number_ = dice_.one_in(2) ? 3 : 1 + dice_.below(4);
    v1::InstanceEvent created;
    created.mutable_instance_created()->set_nodes_number(nodes_number_);
    created.mutable_instance_created()->set_sync_replica_number(
        dice_.one_in(2) ? std::min(1U, nodes_number_ - 1) : dice_.below(nodes_number_));
    tell_order(created);
    reorders_ = dice_.one_in(3);
    can_relocate_ = dice_.one_in(6);
    will_be_deleted_ = dice_.one_in(8);
    if (dice_.one_in(5)) {
      destroyed_host_ = static_cast<int>(dice_.below(SimWorld::kHosts));
      destroyed_at_ = at(0) + kFormsFor + dice_.up_to(kFaultsFor - kFormsFor);
    }
  }

  // The rule that the table waits at in the end, or "" if an invariant broke.
  std::string run() {
    const TimePoint deadline = end_of_faults_ + kMustSettleIn;
    while (world_.now < deadline) {
      world_.now += kTick;
      world_.faults = world_.now < end_of_faults_;
      world_.hardness = world_.now < at(0) + kFormsFor ? 0 : hardness_;
      if (!world_.faults && !is_healed_) heal();
      provision();
      tell_the_world();
      world_.tick();
      for (const auto& report : world_.arrivals()) {
        for (auto& controller : controllers_) controller->take(report);
      }
      for (auto& controller : controllers_) controller->tick(order_);
      if (world_.faults && dice_.one_in(400)) ask_for_switchover();
      if (!world_.faults && world_.now > end_of_faults_ + kOperatorAfter) accept_loss_if_needed();
      check_sync_promise();
      for (auto& controller : controllers_) {
        for (const auto& what : controller->violations) fail(what);
      }
      if (!world_.violations.empty()) return "";
      if (!world_.faults && is_at_rest()) break;
      if (world_.now - end_of_faults_ > kHonestFor && waits_honestly()) break;
    }
    return rule();
  }

  // Decides again what was decided about failovers.
  void replay() {
    std::vector<LoggedEvent> stream;
    for (size_t i = 0; i < log_.events.size(); ++i) {
      stream.push_back({.position = static_cast<int64_t>(i) + 1,
                        .recorded_at = log_.recorded[i],
                        .event = log_.events[i]});
    }
    for (const Replayed& decision : replay_decisions(stream)) {
      ++replayed_;
      if (decision.result == ReplayResult::same) continue;
      fail("version " + std::to_string(decision.version) + " is decided otherwise: " +
           decision.then.rule + " " + decision.then.assigns + "; " + decision.why + "; " +
           decision.now.assigns);
    }
  }

  const SimController& owner() const {
    return controllers_[0]->owns() ? *controllers_[0] : *controllers_[1];
  }
  const GroupState& state() const { return owner().state(); }
  const SimWorld& world() const { return world_; }
  uint64_t failovers() const { return failovers_; }
  uint64_t replayed() const { return replayed_; }
  Verdict verdict() const { return judge(state(), owner().facts(), owner().now()); }
  std::string rule() const { return verdict().rule; }
  bool waits_honestly() const {
    return kHonestWaits.contains(rule()) || (order_.deleting ? false : nobody_has_data());
  }
  uint64_t overrides() const { return overrides_; }
  bool is_at_rest() const {
    if (!owner().owns()) return false;
    if (order_.deleting) return state().deleted;
    return state().settled && state().members.size() == nodes_number_ && rule() == "as_ordered";
  }

 private:
  void fail(const std::string& what) { world_.violations.push_back(what); }
  template <class Message>
  void tell(const Message& m) {
    if (!is_told_) return;
    std::cerr << (world_.now - at(0)).count() / 1000 << " ms: " << m.ShortDebugString() << "\n";
  }

  // ---- the provisioner ---------------------------------------------------------------------

  void tell_order(const v1::InstanceEvent& event) {
    tell(event);
    evolve(order_, event);
  }
  void start_removal(const std::string& id) {
    v1::InstanceEvent e;
    e.mutable_node_removal_started()->set_node_id(id);
    tell_order(e);
  }

  void provision() {
    if (reorders_ && world_.faults && !order_.deleting && dice_.one_in(120)) reorder();
    if (will_be_deleted_ && !world_.faults && !order_.deleting) {
      v1::InstanceEvent e;
      e.mutable_instance_deletion_started();
      tell_order(e);
    }
    if (order_.deleting) {
      if (!order_.boxes.empty() && dice_.one_in(3)) remove(order_.boxes.back().id);
      return;
    }
    if (world_.now >= destroyed_at_ && !world_.is_destroyed(destroyed_host_)) {
      world_.destroy_host(destroyed_host_);
    }
    if (world_.now >= destroyed_at_ + kReplacedAfter) replace_destroyed();
    const auto staying = static_cast<uint32_t>(std::count_if(
        order_.boxes.begin(), order_.boxes.end(), [](const Box& box) { return !box.leaving; }));
    if (staying < nodes_number_) place();
    if (staying > nodes_number_) remove_newest_standby();
    if (can_relocate_ && world_.faults && dice_.one_in(200)) {
      start_removal(order_.boxes[dice_.below(static_cast<uint32_t>(order_.boxes.size()))].id.str());
    }
    for (const Box& box : order_.boxes) {
      const Member* member = find_member(state(), box.id);
      if (member != nullptr && member->detach == DetachPhase::detached && dice_.one_in(3)) {
        remove(box.id);
        break;
      }
    }
  }

  void replace_destroyed() {
    for (const Box& box : order_.boxes) {
      const SimNode* node = world_.find(box.id.str());
      if (box.leaving || node == nullptr || !world_.is_destroyed(node->host)) continue;
      return start_removal(box.id.str());
    }
  }
  // Of those that belong to the group still, nobody has data that is not a fork of the primary's.
  bool nobody_has_data() const {
    const Failover* failover = failover_under_way(state());
    const SimNode* primary =
        world_.find((failover != nullptr ? failover->from : state().primary).str());
    return std::none_of(world_.nodes.begin(), world_.nodes.end(), [&](const auto& node) {
      const Member* member = find_member(state(), NodeId(node.first));
      return !world_.is_destroyed(node.second.host) && !node.second.data.empty() &&
             member != nullptr && member->detach == DetachPhase::attached &&
             (primary == nullptr || follows_by_timelines(node.second, *primary));
    });
  }

  void reorder() {
    nodes_number_ = 1 + dice_.below(5);
    v1::InstanceEvent e;
    e.mutable_instance_scaled()->set_nodes_number(nodes_number_);
    e.mutable_instance_scaled()->set_sync_replica_number(
        dice_.one_in(20) ? nodes_number_ : dice_.below(nodes_number_));
    tell_order(e);
  }
  void place() {
    const std::string id = uuid_from_name("node-" + std::to_string(placed_++));
    int host = static_cast<int>(dice_.below(SimWorld::kHosts));
    if (world_.is_destroyed(host)) host = (host + 1) % SimWorld::kHosts;
    world_.place(id, host);
    v1::InstanceEvent e;
    e.mutable_node_placed()->set_node_id(id);
    e.mutable_node_placed()->mutable_address()->set_host(SimWorld::host_name(host));
    e.mutable_node_placed()->mutable_address()->set_port(5432 + static_cast<uint32_t>(placed_));
    tell_order(e);
  }
  void remove_newest_standby() {
    for (auto box = order_.boxes.rbegin(); box != order_.boxes.rend(); ++box) {
      if (box->leaving || box->id == state().primary) continue;
      return start_removal(box->id.str());
    }
  }
  void remove(const NodeId& id) {
    v1::InstanceEvent e;
    e.mutable_node_removed()->set_node_id(id.str());
    world_.remove(id.str());
    tell_order(e);
  }

  void tell_the_world() {
    const GroupState& state = whole_log();
    const auto sets = possible_sync_sets(state);
    world_.primary_is_open = state.primary_open;
    world_.sync_is_promised =
        std::all_of(sets.begin(), sets.end(), [](const SyncSet& set) { return set.number > 0; });
    if (world_.first_open_term == 0 && state.ever_open) world_.first_open_term = state.term;
  }

  // ---- operators and repair ----------------------------------------------------------------

  void ask_for_switchover() {
    v1::GroupCommand c;
    c.mutable_request_switchover();
    for (auto& controller : controllers_) {
      if (controller->request(c)) break;
    }
  }
  // Who does not report is destroyed, as the operator says: everything else was healed.
  void accept_loss_if_needed() {
    if (!world_.is_destroyed(destroyed_host_) || order_.deleting || !dice_.one_in(40)) return;
    const SimNode* primary = world_.find(state().primary.str());
    if (primary != nullptr && !world_.is_destroyed(primary->host)) return;
    v1::GroupCommand c;
    c.mutable_request_failover()->set_accept_data_loss(true);
    for (auto& controller : controllers_) {
      if (controller->request(c)) break;
    }
  }
  void heal() {
    is_healed_ = true;
    world_.heal();
    log_.away_until = TimePoint();
    for (auto& controller : controllers_) controller->heal();
  }

  // ---- invariants --------------------------------------------------------------------------

  void check(const v1::GroupEvent& event) {
    if (event.has_failover_started()) {
      const uint64_t term = event.failover_started().term();
      if (term <= newest_term_) fail("term " + std::to_string(term) + " begins twice");
      newest_term_ = term;
      ++failovers_;
      if (event.failover_started().kind() == v1::FAILOVER_KIND_OVERRIDE) {
        ++overrides_;
        world_.loss_is_accepted = true;
      }
    }
    if (event.has_primary_assigned()) {
      const uint64_t term = event.primary_assigned().term();
      if (term < newest_term_ || !promoted_in_.insert(term).second) {
        fail("term " + std::to_string(term) + " has two primaries");
      }
      newest_term_ = term;
    }
    if (event.has_primary_opened()) {
      if (event.primary_opened().timeline() < newest_timeline_) fail("a timeline goes back");
      newest_timeline_ = event.primary_opened().timeline();
    }
    if (event.has_group_settled()) check_settled(event.group_settled());
    if (event.has_node_detached()) {
      const SimNode* primary = world_.find(log_state().primary.str());
      const std::string& id = event.node_detached().node_id();
      if (primary == nullptr || !primary->serves()) return;
      if (primary->slots.contains(id)) fail("detached, but its slot is there: " + id);
      if (primary->in_force.candidates.contains(id)) fail("detached, but waited for: " + id);
    }
  }
  // The fold of the whole log, as of before the newest event.
  const GroupState& log_state() {
    while (folded_.version + 1 < log_.events.size()) {
      evolve(folded_, log_.events[folded_.version], log_.recorded[folded_.version]);
    }
    return folded_;
  }
  const GroupState& whole_log() {
    while (folded_.version < log_.events.size()) {
      evolve(folded_, log_.events[folded_.version], log_.recorded[folded_.version]);
    }
    return folded_;
  }

  // As it was when that was decided: the nodes of an instance that is deleted go at any moment.
  void check_settled(const v1::GroupSettled& settled) {
    if (order_.deleting) return;
    std::set<std::string> staying;
    for (const Member& member : log_state().members) {
      if (!member.leaving) staying.insert(member.id.str());
    }
    const auto& ids = settled.node_ids();
    if (staying != std::set<std::string>(ids.begin(), ids.end())) fail("settled for other nodes");
    const uint32_t number = log_state().sync_replica_number;
    if (settled.sync_replica_number() != number) fail("settled for other sync");
    const SimNode* primary = world_.find(log_state().primary.str());
    if (primary == nullptr || !primary->is_primary()) return fail("settled without a primary");
    if (primary->in_force.number != number) {
      fail("settled before the sync set was in force");
    }
    staying.erase(primary->id);
    if (primary->in_force.candidates != staying) {
      fail("settled without all standbys as voters");
    }
  }

  // For what is acknowledged, in at least one of the sets that the log believes possible, `number`
  // candidates have it (or have lost their data and cannot report, so that they count for nobody).
  void check_sync_promise() {
    const GroupState& state = whole_log();
    const SimNode* primary = world_.find(state.primary.str());
    if (order_.deleting || !state.primary_open || primary == nullptr) return;
    if (primary->data.empty()) return;
    const uint64_t branch = primary->data.back().id;
    const auto acknowledged = world_.acknowledged.find(branch);
    if (acknowledged == world_.acknowledged.end()) return;
    for (const SyncSet& set : possible_sync_sets(state)) {
      uint32_t have = 0;
      for (const NodeId& id : set.candidates) {
        const SimNode* node = world_.find(id.str());
        if (node != nullptr && (node->wiped || node->has(branch, acknowledged->second))) ++have;
      }
      if (have >= set.number) return;
    }
    fail("the log believes in more confirmations than were waited for");
  }

  Dice dice_;
  SimWorld world_;
  bool is_told_;
  TimePoint end_of_faults_;
  InstanceOrder order_;
  SimLog log_;
  std::vector<std::unique_ptr<SimController>> controllers_;
  GroupState folded_;
  uint32_t hardness_ = 0;
  bool is_healed_ = false;
  bool reorders_ = false;
  uint32_t nodes_number_ = 0;
  int placed_ = 0;
  int destroyed_host_ = 0;
  TimePoint destroyed_at_ = at(0) + std::chrono::hours(1000);
  bool can_relocate_ = false;
  bool will_be_deleted_ = false;
  uint64_t newest_term_ = 0;
  uint32_t newest_timeline_ = 0;
  std::set<uint64_t> promoted_in_;  // terms
  uint64_t failovers_ = 0;
  uint64_t replayed_ = 0;
  uint64_t overrides_ = 0;
};

std::string truth(const SimNode& node) {
  std::string out = "node " + node.id + " on " + SimWorld::host_name(node.host) + ": term " +
                    std::to_string(node.term) + (node.serves() ? ", serves" : "") +
                    (node.streaming ? ", streams" : "") + ", has";
  for (const Branch& branch : node.data) {
    out += " " + std::to_string(branch.id) + "/" + std::to_string(branch.timeline) + " from " +
           lsn_text(branch.begin);
  }
  out += " until " + lsn_text(node.flush_lsn) + (node.wiped ? ", was wiped" : "") + "; confirmed";
  for (const auto& [id, lsn] : node.confirmed) out += " " + id + " " + lsn_text(lsn);
  return out;
}

std::string story(uint64_t seed, const Life& life, const std::string& rule) {
  std::string out = "replay with TRUNKLINE_SEED=" + std::to_string(seed) + "; waits at: " + rule;
  for (const auto& what : life.world().violations) out += "\n  broken: " + what;
  const Verdict verdict = life.verdict();
  out += "\n  " + verdict.why;
  for (const auto& fact : verdict.facts) out += "\n  " + fact;
  for (const auto& [id, node] : life.world().nodes) out += "\n  in truth: " + truth(node);
  return out;
}

// Seeds are split into four tests so that they run side by side.
class GroupSimulation : public ::testing::TestWithParam<int> {};

TEST_P(GroupSimulation, settles_or_says_why_and_never_breaks_an_invariant) {
  const char* one = std::getenv("TRUNKLINE_SEED");
  const char* many = std::getenv("TRUNKLINE_SEEDS");
  const uint64_t count = (many != nullptr ? std::stoull(many) : kSeeds) / 4;
  const uint64_t first =
      one != nullptr ? std::stoull(one) : count * static_cast<uint64_t>(GetParam());
  const uint64_t end = one != nullptr ? first + 1 : first + count;
  std::map<std::string, uint64_t> ends;
  std::map<std::string, uint64_t> examples;
  uint64_t failovers = 0;
  uint64_t promotions = 0;
  uint64_t reopened = 0;
  uint64_t replayed = 0;
  uint64_t overrides = 0;
  for (uint64_t seed = first; seed < end; ++seed) {
    Life life(seed, one != nullptr);
    const std::string rule = life.run();
    life.replay();
    replayed += life.replayed();
    ++ends[rule];
    examples.emplace(rule, seed);
    failovers += life.failovers();
    promotions += life.world().promotions;
    reopened += life.world().reopened;
    ASSERT_TRUE(life.world().violations.empty()) << story(seed, life, rule);
    overrides += life.overrides();
    ASSERT_TRUE(life.is_at_rest() || life.waits_honestly()) << story(seed, life, rule);
  }
  for (const auto& [rule, times] : ends) {
    std::cout << "  " << times << " x " << rule << ", as in seed " << examples[rule] << "\n";
  }
  std::cout << "  " << failovers << " failovers, " << overrides << " by an operator, " << promotions
            << " promotions, " << reopened << " opened again by voters\n"
            << "  " << replayed << " decisions replayed\n";
  if (one == nullptr) {
    EXPECT_GT(promotions, count / 4);
    EXPECT_GT(replayed, promotions + failovers);
    EXPECT_GT(reopened, 0u);
    EXPECT_GT(ends["as_ordered"] + ends["group_deleting"], count * 8 / 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, GroupSimulation, ::testing::Range(0, 4));

}  // namespace
}  // namespace trunkline::replication::test
