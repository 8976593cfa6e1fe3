#include "replication/domain/group_replay.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "replication/domain/conversions.h"
#include "replication/domain/decision_facts.h"
#include "replication/domain/group_decide.h"
#include "replication/domain/group_evolve.h"
#include "replication/domain/group_request.h"

namespace trunkline::replication {
namespace {

using Events = std::vector<v1::GroupEvent>;
constexpr char kNothing[] = "nothing";

// Of the events that a decision about a failover ends with; null: another event.
const v1::Reason* reason_of(const v1::GroupEvent& event) {
  if (event.has_failover_started()) return &event.failover_started().reason();
  if (event.has_failover_blocked()) return &event.failover_blocked().reason();
  if (event.has_primary_assigned()) return &event.primary_assigned().reason();
  return nullptr;
}

// Seen before the event: else the record is of no use.
bool is_recorded(const v1::Reason& reason, size_t index) {
  return reason.has_seen() && reason.seen().group_version() <= index;
}

const char* type_of(const v1::GroupEvent& event) {
  if (event.has_failover_started()) return "failover_started";
  return event.has_failover_blocked() ? "failover_blocked" : "primary_assigned";
}

// What it assigns, without the words about it.
v1::GroupEvent bare(v1::GroupEvent event) {
  if (event.has_failover_started()) event.mutable_failover_started()->clear_reason();
  if (event.has_failover_blocked()) event.mutable_failover_blocked()->clear_reason();
  if (event.has_primary_assigned()) event.mutable_primary_assigned()->clear_reason();
  if (event.has_sync_set_assigned()) event.mutable_sync_set_assigned()->clear_reason();
  return event;
}

bool assign_the_same(const Events& a, const Events& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const v1::GroupEvent& left, const v1::GroupEvent& right) {
                      return google::protobuf::util::MessageDifferencer::Equals(bare(left),
                                                                                bare(right));
                    });
}

std::string text_of(const v1::GroupEvent& event) {
  if (event.has_failover_started()) {
    const auto& e = event.failover_started();
    return std::string(kind_name(to_kind(e.kind()))) + " in term " + std::to_string(e.term()) +
           " away from node " + e.from_node_id() +
           (e.target_id().empty() ? "" : " to node " + e.target_id());
  }
  if (event.has_failover_blocked()) {
    const uint64_t term = event.failover_blocked().term();
    return term == 0 ? "an end of waiting" : "waiting in term " + std::to_string(term);
  }
  if (event.has_primary_assigned()) {
    const auto& e = event.primary_assigned();
    return "primary in term " + std::to_string(e.term()) + ": node " + e.node_id() +
           ", timeline " + std::to_string(e.timeline()) + " from " + lsn_text(e.promoted_at_lsn()) +
           (e.lost_bytes() == 0 ? "" : ", " + std::to_string(e.lost_bytes()) + " bytes lost");
  }
  if (event.has_sync_set_assigned()) {
    const auto& e = event.sync_set_assigned();
    return "sync set " + std::to_string(e.sync_version()) + ": " +
           sync_set_text({.candidates = to_ids(e.candidates()), .number = e.number()});
  }
  return "something else";  // another table's
}

std::string text_of(const Events& events) {
  std::string out;
  for (const v1::GroupEvent& event : events) out += (out.empty() ? "" : "; ") + text_of(event);
  return out.empty() ? kNothing : out;
}

struct Ruled {
  Ruling ruling;
  Events events;
};

Ruled ruled(const std::string& rule, const std::string& why,
            const Decision<v1::GroupEvent>& decision) {
  Ruled out{.ruling = {.rule = rule, .why = why}};
  if (const auto* events = std::get_if<Events>(&decision)) out.events = *events;
  if (const auto* ignored = std::get_if<AlreadySo>(&decision)) out.ruling.why = ignored->why;
  if (const auto* rejection = std::get_if<Rejection>(&decision)) {
    out.ruling.rule = rejection->rule;
    out.ruling.why = rejection->message;
  }
  out.ruling.assigns = text_of(out.events);
  return out;
}

// The operator's request that an event answers, if it does.
std::optional<v1::GroupCommand> request_of(const v1::GroupEvent& event) {
  const v1::FailoverStarted& started = event.failover_started();
  v1::GroupCommand out;
  if (started.reason().rule() == kSwitchoverRequested) {
    out.mutable_request_switchover()->set_target_id(started.target_id());
    return out;
  }
  if (started.reason().rule() == kFailoverRequested) {
    out.mutable_request_failover()->set_target_id(started.target_id());
    out.mutable_request_failover()->set_accept_data_loss(true);
    return out;
  }
  return std::nullopt;
}

Ruled rule_again(const GroupState& state, const v1::GroupEvent& event,
                 std::span<const Row> table) {
  const SeenFacts seen = from_record(state, reason_of(event)->seen());
  if (const auto request = request_of(event)) {
    const v1::Reason& reason = event.failover_started().reason();
    return ruled(reason.rule(), reason.why(), decide(state, *request, seen.facts, seen.now));
  }
  const Verdict verdict = judge(state, seen.facts, seen.now, table);
  if (!verdict.decision) {
    return ruled(verdict.rule, verdict.why, ignore(verdict.why));
  }
  v1::GroupCommand command;
  *command.mutable_apply_decision()->mutable_decision() = *verdict.decision;
  command.mutable_apply_decision()->set_group_version(state.version);
  return ruled(verdict.rule, verdict.why, decide(state, command, seen.facts, seen.now));
}

std::string difference(const Ruling& then, const Ruling& now, bool same_events) {
  if (then.rule == now.rule) {
    return same_events ? "the same rule decides, and assigns the same"
                       : "the same rule decides, but it assigns something else";
  }
  const std::string other = "now " + now.rule + " decides (" + now.why + ")";
  if (same_events) return other + ", and assigns the same";
  return other + (now.assigns == kNothing ? ", and assigns nothing" : "");
}

class Replay {
 public:
  Replay(std::span<const LoggedEvent> stream, std::span<const Row> table)
      : stream_(stream), table_(table), seen_at_(stream.size() + 1) {}

  std::vector<Replayed> run() {
    for (size_t i = 0; i < stream_.size(); ++i) {
      const v1::Reason* reason = reason_of(stream_[i].event);
      if (reason == nullptr || !is_recorded(*reason, i)) continue;
      seen_at_[reason->seen().group_version()].push_back(i);
    }
    for (size_t i = 0; i < stream_.size(); ++i) {
      for (const size_t event : seen_at_[state_.version]) decide_again(event);
      note_unrecorded(i);
      evolve(state_, stream_[i].event, stream_[i].recorded_at);
    }
    std::sort(out_.begin(), out_.end(),
              [](const Replayed& a, const Replayed& b) { return a.version < b.version; });
    return std::move(out_);
  }

 private:
  Replayed begun(size_t index) const {
    const LoggedEvent& logged = stream_[index];
    const v1::Reason& reason = *reason_of(logged.event);
    return {.position = logged.position,
            .version = index + 1,
            .recorded_at = logged.recorded_at,
            .event = type_of(logged.event),
            .then = {.rule = reason.rule(), .why = reason.why()}};
  }

  void decide_again(size_t index) {
    Events events;
    for (size_t i = state_.version; i <= index; ++i) events.push_back(stream_[i].event);
    Replayed out = begun(index);
    out.then.assigns = text_of(events);
    const Ruled now = rule_again(state_, stream_[index].event, table_);
    out.now = now.ruling;
    const bool same_events = assign_the_same(events, now.events);
    const bool is_same = same_events && out.then.rule == out.now.rule;
    out.result = is_same ? ReplayResult::same : ReplayResult::different;
    out.why = difference(out.then, out.now, same_events);
    out_.push_back(std::move(out));
  }

  void note_unrecorded(size_t index) {
    const v1::GroupEvent& event = stream_[index].event;
    const v1::Reason* reason = reason_of(event);
    if (reason == nullptr || is_recorded(*reason, index)) return;
    // The first primary of all is no failover's.
    if (event.has_primary_assigned() && failover_under_way(state_) == nullptr) return;
    Replayed out = begun(index);
    out.then.assigns = text_of(event);
    out.why = "the facts were not recorded with this decision";
    out_.push_back(std::move(out));
  }

  const std::span<const LoggedEvent> stream_;
  const std::span<const Row> table_;
  std::vector<std::vector<size_t>> seen_at_;  // by the version that was seen: the deciding events
  GroupState state_;
  std::vector<Replayed> out_;
};

}  // namespace

std::vector<Replayed> replay_decisions(std::span<const LoggedEvent> stream) {
  return replay_decisions(stream, group_table());
}

std::vector<Replayed> replay_decisions(std::span<const LoggedEvent> stream,
                                       std::span<const Row> table) {
  return Replay(stream, table).run();
}

}  // namespace trunkline::replication
