#include "replication/io/failover_trace.h"

#include <algorithm>

#include "runtime/random.h"
#include "telemetry/attributes.h"
#include "telemetry/telemetry.h"

namespace trunkline::replication {
namespace {

std::string seed_of(const std::string& uuid, uint64_t term) {
  return "failover/" + uuid + "/" + std::to_string(term);
}

const Failover* not_open_yet(const GroupState& state) {
  const bool open = state.primary_open || !state.failover || state.failover->term != state.term;
  return open ? nullptr : &*state.failover;
}

// When the old primary was last known to be well.
TimePoint suspicion(const GroupState& state, const GroupFacts& facts, TimePoint now) {
  TimePoint since = now;
  if (facts.primary_down_since) since = std::min(since, *facts.primary_down_since);
  const Member* primary = primary_member(state);
  if (primary == nullptr) return since;
  const auto host = facts.hosts.find(primary->address.host);
  return host == facts.hosts.end() ? since : std::min(since, host->second.at);
}

}  // namespace

std::string FailoverTrace::parent_of(const std::string& uuid, const GroupState& state) {
  const Failover* failover = not_open_yet(state);
  return failover == nullptr ? std::string() : telemetry::root_of(seed_of(uuid, failover->term));
}

std::string FailoverTrace::parent_of(const std::string& uuid, const GroupState& state,
                                     const v1::GroupCommand& body) {
  const auto& decision = body.apply_decision().decision();
  if (decision.has_failover_started()) {
    return telemetry::root_of(seed_of(uuid, decision.failover_started().term()));
  }
  return parent_of(uuid, state);
}

void FailoverTrace::before(const GroupState& state, const GroupFacts& facts,
                           const v1::GroupCommand& body, TimePoint now) {
  const Failover* failover = not_open_yet(state);
  under_way_.reset();
  if (failover != nullptr) under_way_ = *failover;
  const auto& decision = body.apply_decision().decision();
  if (!decision.has_failover_started()) return;
  suspected_term_ = decision.failover_started().term();
  const bool failed = decision.failover_started().kind() == v1::FAILOVER_KIND_FAILOVER;
  const TimePoint since = failed ? suspicion(state, facts, now) : now;
  suspected_at_ = runtime::now() - (now - since);
  rule_ = decision.reason().rule();
}

void FailoverTrace::after(const std::string& uuid, const GroupState& state,
                          const std::string& cause) {
  if (!under_way_) return;
  if (state.term != under_way_->term) {
    tell(uuid, *under_way_, cause, "superseded");
  } else if (state.primary_open && state.failover) {
    tell(uuid, *state.failover, cause, "");
  }
}

void FailoverTrace::tell(const std::string& uuid, const Failover& failover,
                         const std::string& cause, const char* error) const {
  telemetry::Told root;
  root.name = std::string(kind_name(failover.kind));
  root.seed = seed_of(uuid, failover.term);
  const bool seen = suspected_term_ == failover.term;
  root.begun = seen ? std::min(suspected_at_, failover.started_at) : failover.started_at;
  root.links = {cause};
  root.attributes = {{telemetry::kInstanceId, uuid},
                     {telemetry::kTerm, std::to_string(failover.term)},
                     {"trunkline.from_node_id", failover.from.str()}};
  if (seen) root.attributes.emplace_back(telemetry::kRule, rule_);
  root.error_type = error;
  telemetry::tell(root);
}

}  // namespace trunkline::replication
