#include "replication/domain/decision_facts.h"

#include <algorithm>

#include "replication/domain/conversions.h"
#include "replication/domain/report_conversions.h"
#include "trunkline/v1/decision_facts.pb.h"

namespace trunkline::replication {
namespace {

using std::chrono::microseconds;

// ---- into the log --------------------------------------------------------------------------

class Writer {
 public:
  Writer(const GroupState& state, const GroupFacts& facts, TimePoint now, v1::DecisionFacts* out)
      : state_(state), facts_(facts), now_(now), out_(*out) {}

  void write() {
    out_.set_group_version(state_.version);
    out_.set_decided_unix_us(to_unix_us(now_));
    for (const Member& member : state_.members) place_of(member.id);
    write_times();
    write_primary();
    for (const Member& member : state_.members) write_host(member);
    for (const auto& [id, seen] : facts_.nodes) write_report(seen, of(id).mutable_reported());
    for (const auto& [id, fenced] : facts_.fenced) {
      of(id).set_fenced_term(fenced.term);
      of(id).set_fenced_since_us(offset(fenced.since));
    }
    for (const auto& [id, since] : facts_.detached_since) {
      of(id).set_detached_since_us(offset(since));
    }
  }

 private:
  int64_t offset(TimePoint t) const { return (t - now_).count(); }
  static bool ever(TimePoint t) { return t != TimePoint(); }

  uint32_t place_of(const NodeId& id) {
    if (id.empty()) return 0;
    const auto [place, is_new] =
        places_.try_emplace(id, static_cast<uint32_t>(out_.nodes_size()) + 1);
    if (is_new) out_.add_nodes()->set_node_id(id.str());
    return place->second;
  }
  v1::NodeFacts& of(const NodeId& id) {
    return *out_.mutable_nodes(static_cast<int>(place_of(id)) - 1);
  }
  bool is_member(const NodeId& id) const { return find_member(state_, id) != nullptr; }

  void write_times() {
    if (ever(facts_.owner_since)) out_.set_owner_since_us(offset(facts_.owner_since));
    if (ever(facts_.lease_until)) out_.set_lease_until_us(offset(facts_.lease_until));
    if (ever(facts_.others_lease_until)) {
      out_.set_others_lease_until_us(offset(facts_.others_lease_until));
    }
    out_.set_seen_term(facts_.seen_term);
    out_.set_seen_primary(place_of(facts_.seen_primary));
    if (ever(facts_.seen_since)) out_.set_seen_since_us(offset(facts_.seen_since));
  }

  void write_primary() {
    if (facts_.primary_down_since) {
      out_.set_primary_down_since_us(offset(*facts_.primary_down_since));
    }
    if (ever(facts_.primary_alive_at)) {
      out_.set_primary_alive_at_us(offset(facts_.primary_alive_at));
    }
    if (facts_.probe.id != 0 || facts_.probe.unanswered_since) {
      auto* probe = out_.mutable_probe();
      probe->set_id(facts_.probe.id);
      if (ever(facts_.probe.asked_at)) probe->set_asked_at_us(offset(facts_.probe.asked_at));
      if (const auto& since = facts_.probe.unanswered_since) {
        probe->set_unanswered_since_us(offset(*since));
      }
      probe->set_answered_id(facts_.probe.answered_id);
    }
    if (facts_.prepare.id != 0) {
      out_.mutable_preparation()->set_id(facts_.prepare.id);
      if (ever(facts_.prepare.asked_at)) {
        out_.mutable_preparation()->set_asked_at_us(offset(facts_.prepare.asked_at));
      }
    }
    out_.set_wal_of(place_of(facts_.wal_of));
    out_.set_wal_until(facts_.wal_until);
    if (!facts_.sync_mark) return;
    auto* mark = out_.mutable_sync_mark();
    mark->set_primary(place_of(facts_.sync_mark->primary));
    mark->set_term(facts_.sync_mark->term);
    mark->set_sync_version(facts_.sync_mark->sync_version);
    if (ever(facts_.sync_mark->first_seen)) {
      mark->set_first_seen_us(offset(facts_.sync_mark->first_seen));
    }
    if (facts_.sync_mark->flush_lsn) mark->set_flush_lsn(*facts_.sync_mark->flush_lsn);
  }

  void write_host(const Member& member) {
    const auto host = facts_.hosts.find(member.address.host);
    if (host != facts_.hosts.end()) of(member.id).set_host_heard_us(offset(host->second.at));
  }

  void write_report(const NodeSeen& seen, v1::ReportedFacts* out) {
    if (ever(seen.at)) out->set_at_us(offset(seen.at));
    out->set_role_generation(seen.role_generation);
    out->set_role_state(to_proto(seen.role_state));
    out->set_role_step(seen.role_step);
    out->set_role_failure(seen.role_failure);
    out->set_postgres(to_proto(seen.postgres));
    out->set_role(to_proto(seen.role));
    out->set_term(seen.term);
    out->set_timeline(seen.timeline);
    out->set_flush_lsn(seen.flush_lsn);
    out->set_wal_end_exact(seen.wal_end_exact);
    out->set_sync_version(seen.sync_version);
    write_history(seen.history, out);
    out->set_probe_id(seen.probe_id);
    out->set_probe_answered(seen.probe_answered);
    out->set_prepared_id(seen.prepared_id);
    out->set_restart_awaited(seen.restart_awaited);
    out->set_answers(seen.answers);
    out->set_recovers(seen.recovers);
    out->set_stalled_ms(static_cast<uint32_t>(seen.stalled.count()));
    if (seen.upstream_silent) {
      out->set_upstream_silent_ms(static_cast<uint64_t>(seen.upstream_silent->count()));
    }
    for (const NodeId& id : seen.slots) {
      if (is_member(id)) out->add_slots(place_of(id));
    }
    for (const auto& [id, standby] : seen.standbys) {
      if (!is_member(id)) continue;
      auto* m = out->add_standbys();
      m->set_node(place_of(id));
      m->set_streams(standby.streams());
      if (!standby.streams()) m->set_state(standby.state);
      m->set_flush_lsn(standby.flush_lsn);
    }
  }

  void write_history(const std::vector<TimelineBegin>& history, v1::ReportedFacts* out) const {
    const auto& known = state_.history;
    const auto rest =
        std::mismatch(history.begin(), history.end(), known.begin(), known.end()).first;
    out->set_shared_history(static_cast<uint32_t>(rest - history.begin()));
    add_history({rest, history.end()}, out->mutable_more_history());
  }

  const GroupState& state_;
  const GroupFacts& facts_;
  const TimePoint now_;
  v1::DecisionFacts& out_;
  std::map<NodeId, uint32_t> places_;
};

// ---- and back ------------------------------------------------------------------------------

class Reader {
 public:
  Reader(const GroupState& state, const v1::DecisionFacts& in)
      : state_(state), in_(in), now_(from_unix_us(in.decided_unix_us())) {}

  SeenFacts read() {
    read_times();
    read_primary();
    for (const v1::NodeFacts& node : in_.nodes()) read_node(node);
    return {.facts = std::move(facts_), .now = now_};
  }

 private:
  TimePoint at(int64_t offset_us) const { return now_ + microseconds(offset_us); }
  NodeId node_at(uint32_t place) const {
    if (place == 0 || place > static_cast<uint32_t>(in_.nodes_size())) return NodeId();
    return NodeId(in_.nodes(static_cast<int>(place) - 1).node_id());
  }

  void read_times() {
    if (in_.has_owner_since_us()) facts_.owner_since = at(in_.owner_since_us());
    if (in_.has_lease_until_us()) facts_.lease_until = at(in_.lease_until_us());
    if (in_.has_others_lease_until_us()) {
      facts_.others_lease_until = at(in_.others_lease_until_us());
    }
    facts_.seen_term = in_.seen_term();
    facts_.seen_primary = node_at(in_.seen_primary());
    if (in_.has_seen_since_us()) facts_.seen_since = at(in_.seen_since_us());
  }

  void read_primary() {
    if (in_.has_primary_down_since_us()) {
      facts_.primary_down_since = at(in_.primary_down_since_us());
    }
    if (in_.has_primary_alive_at_us()) facts_.primary_alive_at = at(in_.primary_alive_at_us());
    const v1::ProbeSeen& probe = in_.probe();
    facts_.probe.id = probe.id();
    if (probe.has_asked_at_us()) facts_.probe.asked_at = at(probe.asked_at_us());
    if (probe.has_unanswered_since_us()) {
      facts_.probe.unanswered_since = at(probe.unanswered_since_us());
    }
    facts_.probe.answered_id = probe.answered_id();
    facts_.prepare.id = in_.preparation().id();
    if (in_.preparation().has_asked_at_us()) {
      facts_.prepare.asked_at = at(in_.preparation().asked_at_us());
    }
    facts_.wal_of = node_at(in_.wal_of());
    facts_.wal_until = in_.wal_until();
    if (!in_.has_sync_mark()) return;
    const v1::SyncMarkSeen& mark = in_.sync_mark();
    facts_.sync_mark = SyncMark{.primary = node_at(mark.primary()),
                                .term = mark.term(),
                                .sync_version = mark.sync_version()};
    if (mark.has_first_seen_us()) facts_.sync_mark->first_seen = at(mark.first_seen_us());
    if (mark.has_flush_lsn()) facts_.sync_mark->flush_lsn = mark.flush_lsn();
  }

  void read_node(const v1::NodeFacts& node) {
    const NodeId id(node.node_id());
    const Member* member = find_member(state_, id);
    if (member != nullptr && node.has_host_heard_us()) {
      facts_.hosts[member->address.host].at = at(node.host_heard_us());
    }
    if (node.has_reported()) facts_.nodes[id] = report(node.reported());
    if (node.has_fenced_term()) {
      facts_.fenced[id] = {.term = node.fenced_term(), .since = at(node.fenced_since_us())};
    }
    if (node.has_detached_since_us()) facts_.detached_since[id] = at(node.detached_since_us());
  }

  NodeSeen report(const v1::ReportedFacts& m) const {
    NodeSeen out{.role_generation = m.role_generation(),
                 .role_state = to_task_state(m.role_state()),
                 .role_step = m.role_step(),
                 .role_failure = m.role_failure(),
                 .postgres = to_state(m.postgres()),
                 .role = to_role(m.role()),
                 .term = m.term(),
                 .timeline = m.timeline(),
                 .flush_lsn = m.flush_lsn(),
                 .wal_end_exact = m.wal_end_exact(),
                 .sync_version = m.sync_version(),
                 .probe_id = m.probe_id(),
                 .probe_answered = m.probe_answered(),
                 .prepared_id = m.prepared_id(),
                 .restart_awaited = m.restart_awaited(),
                 .answers = m.answers(),
                 .recovers = m.recovers(),
                 .stalled = milliseconds(m.stalled_ms())};
    if (m.has_at_us()) out.at = at(m.at_us());
    const auto& known = state_.history;
    const size_t shared = std::min<size_t>(m.shared_history(), known.size());
    out.history.assign(known.begin(), known.begin() + static_cast<std::ptrdiff_t>(shared));
    for (const TimelineBegin& begin : to_history(m.more_history())) out.history.push_back(begin);
    if (m.has_upstream_silent_ms()) {
      out.upstream_silent = milliseconds(static_cast<int64_t>(m.upstream_silent_ms()));
    }
    for (const uint32_t place : m.slots()) out.slots.insert(node_at(place));
    for (const v1::StandbyFacts& standby : m.standbys()) {
      out.standbys[node_at(standby.node())] = {
          .state = standby.streams() ? "streaming" : standby.state(),
          .flush_lsn = standby.flush_lsn()};
    }
    return out;
  }

  const GroupState& state_;
  const v1::DecisionFacts& in_;
  const TimePoint now_;
  GroupFacts facts_;
};

}  // namespace

void to_record(const GroupState& state, const GroupFacts& facts, TimePoint now,
               v1::DecisionFacts* out) {
  Writer(state, facts, now, out).write();
}

SeenFacts from_record(const GroupState& state, const v1::DecisionFacts& record) {
  return Reader(state, record).read();
}

}  // namespace trunkline::replication
