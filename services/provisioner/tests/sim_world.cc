#include "provisioner/tests/sim_world.h"

#include <algorithm>
#include <numeric>

#include "base/digest.h"
#include "provisioner/domain/instance_decide.h"
#include "provisioner/domain/instance_evolve.h"
#include "provisioner/domain/snapshot.h"
#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

std::string event_name(const v1::InstanceEvent& event) {
  const auto* oneof = v1::InstanceEvent::descriptor()->oneof_decl(0);
  return event.GetReflection()->GetOneofFieldDescriptor(event, oneof)->name();
}

const std::string& a_verifier() {
  static const std::string text = verifier();
  return text;
}

}  // namespace

uint64_t Rng::next() {
  state_ += 0x9E3779B97F4A7C15ull;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

World::World(uint64_t seed, uint32_t hosts, uint32_t instances)
    : rng_(seed), now_(kStart), watching_since_(kStart) {
  for (uint32_t i = 0; i < hosts; ++i) {
    const std::string name = "host-" + std::string(1, static_cast<char>('a' + i));
    Agent agent;
    agent.host = HostState(host_uuid(HostName(name)));
    agent.host.name = HostName(name);
    agent.host.zone = "zone-" + std::to_string(i % 3);
    agent.host.address = "127.0.0." + std::to_string(i + 1);
    agent.host.cpu = 8;
    agent.host.ram_mb = 65536;
    agent.host.disk_gb = 1000;
    agent.host.images = {"postgresql-15"};
    fleet_.set_host(agent.host);
    left_.open.insert(agent.host.name);
    agents_.emplace(agent.host.name, std::move(agent));
  }
  for (uint32_t i = 0; i < instances; ++i) {
    states_.emplace_back(InstanceId(uuid_from_name("sim/" + std::to_string(i))));
  }
  groups_.resize(instances);
}

void World::violation(const std::string& what) {
  violations_.push_back(std::to_string((now_ - kStart).count() / 1000) + " ms: " + what);
}

// ---- the log -------------------------------------------------------------------------------

void World::append(size_t instance, const v1::InstanceEvent& event) {
  look_at_event(instance, event);
  log_.push_back({instance, false, event, {}, now_});
  evolve(states_[instance], event, now_);
  fleet_.set_instance(states_[instance]);
  look_at_ports();
}

void World::append(size_t instance, const v1::GroupEvent& event) {
  log_.push_back({instance, true, {}, event, now_});
  evolve_from_group(states_[instance], event, ++groups_[instance].version, now_);
}

bool World::decide_and_append(size_t instance, const v1::InstanceCommand& command) {
  InstanceFacts facts = offered();
  if (command.has_place_nodes()) {
    facts.left = left_;
    facts.taken = fleet_.taken_by_others(states_[instance].id, command.place_nodes());
  }
  const auto decision = decide(states_[instance], command, facts, now_);
  const auto* events = std::get_if<std::vector<v1::InstanceEvent>>(&decision);
  if (!events) return false;
  for (const auto& event : *events) append(instance, event);
  return true;
}

void World::look_at_event(size_t instance, const v1::InstanceEvent& event) {
  ++counts_[event_name(event)];
  const InstanceState& state = states_[instance];
  if (event.has_node_placed() && !placed_ever_.insert(event.node_placed().node_id()).second) {
    violation("node placed twice: " + event.node_placed().node_id());
  }
  if (event.has_node_removal_started() && event.node_removal_started().why() != kHostDrained &&
      event.node_removal_started().node_id() == groups_[instance].primary &&
      groups_[instance].ever_open && states_[instance].group.ever_open) {
    violation("the primary is removed");
  }
  if (event.has_node_removed() && state.exists() && groups_[instance].ever_open) {
    const std::string& id = event.node_removed().node_id();
    const bool in_use = groups_[instance].members.contains(id) &&
                        !groups_[instance].detached.contains(id);
    if (in_use && state.group.ever_open) violation("a node goes that replication has not let go");
  }
  if (event.has_node_removal_started() &&
      event.node_removal_started().why() == kHostShared) {
    ++counts_["spread"];
  }
  if (event.has_instance_resized()) {
    groups_[instance].changes_overlap |= std::ranges::any_of(
        state.nodes, [](const Node& node) { return node.is_wanted() && !node.is_up_to_date(); });
  }
  if (event.has_instance_activated()) groups_[instance].changes_overlap = false;
  if (event.has_instance_activated()) {
    for (const Node& node : state.nodes) {
      if (!box_is_ready(instance, node.id.str())) violation("active without a node");
    }
  }
}

void World::look_at_ports() {
  std::set<std::pair<std::string, uint32_t>> ports;
  for (const InstanceState& state : states_) {
    for (const Node& node : state.nodes) {
      if (!ports.emplace(node.address.host.str(), node.address.port).second) {
        violation("two nodes at one port");
      }
    }
  }
}

// ---- the bus -------------------------------------------------------------------------------

void World::fly(Flight flight) {
  quiet_ = quiet_ && flight.is_report;
  if (rng_.chance(faults_.loss)) return;
  const bool again = rng_.chance(faults_.repeat);
  flight.order = flights_made_++;
  flight.at = now_ + rng_.up_to(faults_.max_delay_ms);
  if (again) {
    Flight copy = flight;
    copy.at = now_ + rng_.up_to(faults_.max_delay_ms * 4);
    flights_.push_back(std::move(copy));
  }
  flights_.push_back(std::move(flight));
}

void World::deliver() {
  std::vector<Flight> arrived;
  const auto late = std::ranges::stable_partition(
      flights_, [&](const Flight& flight) { return flight.at > now_; });
  std::ranges::move(late, std::back_inserter(arrived));
  flights_.erase(late.begin(), late.end());
  std::ranges::sort(arrived, [](const Flight& a, const Flight& b) {
    return std::tie(a.at, a.order) < std::tie(b.at, b.order);
  });
  for (Flight& flight : arrived) {
    if (!flight.is_report) {
      take_task(agents_.at(flight.host), flight.task);
      continue;
    }
    if (!book_.take(flight.report, now_)) continue;
    fleet_.host_reported(flight.host, now_, 500);
    std::vector<int> all(static_cast<size_t>(flight.report.nodes_size()));
    std::iota(all.begin(), all.end(), 0);
    const auto find = [&](const InstanceId& id) -> const InstanceState* {
      const auto it = std::ranges::find(states_, id, &InstanceState::id);
      return it == states_.end() ? nullptr : &*it;
    };
    for (const SendTask& task : orphans(flight.report, all, find, {now_, watching_since_}, {})) {
      if (!task.task.has_remove_node()) ++counts_["quarantine"];
      ++counts_["orphan"];
      fly({.task = task.task, .host = task.host});
    }
  }
}

// ---- the provisioner -----------------------------------------------------------------------

void World::restart_provisioner() {
  ++counts_["restart"];
  std::vector<InstanceState> folded;
  for (const InstanceState& state : states_) folded.emplace_back(state.id);
  std::vector<uint64_t> group_versions(states_.size(), 0);
  for (const Recorded& recorded : log_) {
    InstanceState& state = folded[recorded.instance];
    if (recorded.of_group) {
      const uint64_t version = ++group_versions[recorded.instance];
      evolve_from_group(state, recorded.group_event, version, recorded.at);
      evolve_from_group(state, recorded.group_event, version, recorded.at);
    } else {
      evolve(state, recorded.event, recorded.at);
    }
  }
  if (folded != states_) violation("folding the log gives another state");
  for (InstanceState& state : folded) {
    const auto read = from_snapshot(to_snapshot(state));
    if (!read || *read != state) violation("the snapshot gives another state");
  }
  book_ = ReportBook();
  fleet_ = Fleet();
  for (const auto& [name, agent] : agents_) fleet_.set_host(agent.host);
  for (const InstanceState& state : states_) fleet_.set_instance(state);
  watching_since_ = now_;
}

void World::hear_again() {
  if (issued_.empty() || !rng_.chance(faults_.repeat)) return;
  const auto& [instance, command] = issued_[rng_.below(issued_.size())];
  decide_and_append(instance, v1::InstanceCommand(command));
}

bool World::dies_here() {
  if (!rng_.chance(faults_.provisioner_dies)) return false;
  restart_provisioner();
  return true;
}

void World::run_provisioner(size_t instance) {
  constexpr int kMaxRounds = 50;
  for (int round = 0;; ++round) {
    if (round == kMaxRounds) return violation("the reactor does not come to rest");
    bool changed = false;
    for (Action& action : react(states_[instance], book_, {now_, watching_since_, left_})) {
      if (dies_here()) return;
      if (auto* issue = std::get_if<IssueCommand>(&action)) {
        issued_.emplace_back(instance, issue->command);
        changed = decide_and_append(instance, issue->command) || changed;
      } else if (auto* need = std::get_if<NeedPlacement>(&action)) {
        const auto command = answer_needs(fleet_, need->needs, now_);
        if (!command) continue;
        if (dies_here()) return;
        issued_.emplace_back(instance, *command);
        if (decide_and_append(instance, *command)) {
          changed = true;
        } else {
          fleet_.release(states_[instance].id);
        }
      } else {
        auto& send = std::get<SendTask>(action);
        fly({.task = send.task, .host = send.host});
      }
    }
    if (!changed) return;
    quiet_ = false;
  }
}

// ---- the customer --------------------------------------------------------------------------

void World::customer() {
  const size_t instance = rng_.below(states_.size());
  const InstanceState& state = states_[instance];
  const auto id = [&](const char* kind) {
    return uuid_from_name(std::string("sim/") + kind + std::to_string(names_++));
  };
  v1::InstanceCommand command;
  const uint64_t what = state.status == InstanceStatus::none ? 0 : 1 + rng_.below(12);
  if (what == 0) {
    const auto nodes = static_cast<uint32_t>(1 + rng_.below(4));
    command = create(nodes, static_cast<uint32_t>(rng_.below(nodes)));
  } else if (what <= 3) {
    const auto nodes = static_cast<uint32_t>(1 + rng_.below(4));
    command.mutable_update_instance()->set_nodes_number(nodes);
    command.mutable_update_instance()->set_sync_replica_number(
        static_cast<uint32_t>(rng_.below(nodes)));
  } else if (what <= 5) {
    command.mutable_update_instance()->set_ram_mb(static_cast<uint32_t>(512 + rng_.below(4096)));
  } else if (what == 6) {
    command.mutable_update_instance();
  } else if (what == 7) {
    command.mutable_delete_instance();
  } else if (what <= 9) {
    auto& user = *command.mutable_create_user();
    user.set_user_id(id("user"));
    user.set_name("u" + std::to_string(rng_.below(5)));
    user.set_scram_verifier(a_verifier());
  } else if (what == 10 && !state.users.empty()) {
    auto& database = *command.mutable_create_database();
    database.set_database_id(id("database"));
    database.set_name("d" + std::to_string(rng_.below(5)));
    database.set_owner_id(state.users.begin()->first.str());
  } else if (what == 11 && !state.databases.empty()) {
    command = delete_database(state.databases.begin()->first.str());
  } else if (what == 12 && !state.users.empty()) {
    command = delete_user(state.users.rbegin()->first.str());
  } else {
    return;
  }
  decide_and_append(instance, command);
}

bool World::may_be_lost(const HostName& name) const {
  const auto& boxes = agents_.at(name).boxes;
  return std::ranges::none_of(groups_, [&](const Group& group) {
    return boxes.contains(group.primary) || boxes.contains(group.heir);
  });
}

void World::set_service(Agent& agent, HostService service) {
  agent.host.service = service;
  agent.host.schedulable = service == HostService::in_service;
  left_.drained.erase(agent.host.name);
  left_.lost.erase(agent.host.name);
  left_.open.erase(agent.host.name);
  if (service == HostService::in_service) left_.open.insert(agent.host.name);
  if (service == HostService::draining) left_.drained.insert(agent.host.name);
  if (service == HostService::lost) left_.lost.insert(agent.host.name);
  fleet_.set_host(agent.host);
}

void World::administrator() {
  auto at = std::next(agents_.begin(), static_cast<ptrdiff_t>(rng_.below(agents_.size())));
  Agent& agent = at->second;
  if (agent.host.service == HostService::lost) return;
  if (agent.host.service == HostService::draining) {
    ++counts_["undrain"];
    return set_service(agent, HostService::in_service);
  }
  if (rng_.chance(30) && may_be_lost(at->first)) {
    ++counts_["lost"];
    agent.boxes.clear();
    agent.silent_until = now_ + seconds(100'000);
    return set_service(agent, HostService::lost);
  }
  ++counts_["drain"];
  set_service(agent, HostService::draining);
}

// A host that was lost comes back empty, when nobody counts on it any more. At least one is always
// there to place nodes on.
void World::mend() {
  for (auto& [name, agent] : agents_) {
    const bool counted_on = std::ranges::any_of(states_, [&](const InstanceState& state) {
      return state.exists() && has_wanted_node_on(state, {name});
    });
    if (agent.host.service == HostService::lost && counted_on) continue;
    agent.failing_until = agent.silent_until = now_;
    if (agent.host.service == HostService::lost) set_service(agent, HostService::in_service);
  }
  if (left_.drained.size() + left_.lost.size() == agents_.size() && !left_.drained.empty()) {
    set_service(agents_.at(*left_.drained.begin()), HostService::in_service);
  }
  for (Group& group : groups_) group.sleeps_until = now_;
  for (size_t i = 0; i < states_.size(); ++i) {
    v1::InstanceCommand retry;
    retry.mutable_update_instance();
    if (states_[i].status == InstanceStatus::error) decide_and_append(i, retry);
  }
}

void World::step() {
  now_ += milliseconds(50) + rng_.up_to(450);
  quiet_ = true;
  deliver();
  for (size_t i = 0; i < states_.size(); ++i) {
    run_replication(i);
    run_provisioner(i);
    hear_again();
  }
  for (auto& [name, agent] : agents_) run_agent(agent);
}

// ---- the end -------------------------------------------------------------------------------

bool World::objects_match(const InstanceState& state, const Box& box) const {
  if (state.objects_version == 0) return true;
  std::set<std::string> wanted, there;
  for (const auto& [id, user] : state.users) {
    if (user.status != ObjectStatus::active) return false;
    wanted.insert(id.str() + user.name);
  }
  for (const auto& [id, database] : state.databases) {
    if (database.status != ObjectStatus::active) return false;
    wanted.insert(id.str() + database.name);
  }
  for (const auto& user : box.objects.users()) there.insert(user.user_id() + user.name());
  for (const auto& d : box.objects.databases()) there.insert(d.database_id() + d.name());
  return wanted == there && state.applied_objects_version == state.objects_version &&
         state.dropped_users.empty() && state.dropped_databases.empty();
}

bool World::is_quiet() const { return quiet_; }

std::string World::why_not_converged() const {
  std::map<std::string, std::string> wanted, there;
  for (const InstanceState& state : states_) {
    const bool done = state.status == InstanceStatus::none ||
                      state.status == InstanceStatus::active ||
                      state.status == InstanceStatus::deleted;
    if (!done) {
      return "instance is " + std::string(status_name(state.status)) + " at " +
             std::string(step_name(state.step)) +
             (state.failure ? ": " + state.failure->failure.message : "");
    }
    if (state.exists() && state.nodes.size() != state.spec.nodes_number) return "nodes differ";
    if (state.exists() && has_wanted_node_on(state, left_.drained)) return "a host is not left";
    if (state.exists() && has_wanted_node_on(state, left_.lost)) return "a lost host is not left";
    if (state.exists() && is_crowded(state, left_)) return "nodes share a host";
    for (const Node& node : state.nodes) wanted[node.id.str()] = node.address.host.str();
  }
  for (const auto& [name, agent] : agents_) {
    for (const auto& [id, box] : agent.boxes) {
      there[id] = name.str();
      const InstanceState& state = states_[box.instance];
      if (state.group.primary.str() == id && !objects_match(state, box)) return "objects differ";
    }
  }
  return wanted == there ? "" : "hosts have other nodes than the instances";
}

std::string World::history() const {
  std::string out;
  for (const Recorded& recorded : log_) {
    out += std::to_string((recorded.at - kStart).count() / 1000) + " ms, instance " +
           std::to_string(recorded.instance) + ": " +
           (recorded.of_group ? recorded.group_event.ShortDebugString()
                              : recorded.event.ShortDebugString()) +
           "\n";
  }
  return out;
}

uint64_t World::digest() const {
  std::string all;
  for (const Recorded& recorded : log_) {
    all += std::to_string(recorded.instance) + std::to_string(to_unix_us(recorded.at)) +
           (recorded.of_group ? recorded.group_event.SerializeAsString()
                              : recorded.event.SerializeAsString());
  }
  uint64_t out = 0;
  for (const char c : sha256(all).substr(0, 8)) out = out << 8 | static_cast<unsigned char>(c);
  return out;
}

}  // namespace trunkline::provisioner::testing
