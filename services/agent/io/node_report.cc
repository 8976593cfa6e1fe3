// What a node says of itself.
#include <algorithm>

#include "agent/domain/report_text.h"
#include "agent/io/node_actor.h"

namespace trunkline::agent {
namespace {

void fill(v1::TaskReport* out, uint64_t generation, v1::TaskState state) {
  out->set_generation(generation);
  out->set_state(state);
}

v1::ObjectKind to_proto(ObjectKind kind) {
  return kind == ObjectKind::database ? v1::OBJECT_KIND_DATABASE : v1::OBJECT_KIND_USER;
}

}  // namespace

v1::NodeReport NodeActor::report() const {
  v1::NodeReport out;
  {
    const std::lock_guard lock(mutex_);
    out = report_;
  }
  const std::lock_guard lock(lease_mutex_);
  const int64_t now = boot_ms();
  int64_t until = served_until_ms_;
  out.set_lease_term(guard_term_);
  if (lease_term_ >= guard_term_) {
    until = lease_term_ == guard_term_ ? std::max(until, lease_until_ms_) : lease_until_ms_;
    out.set_lease_term(lease_term_);
  }
  out.set_lease_ms(static_cast<uint32_t>(std::max<int64_t>(until - now, 0)));
  if (probe_answered_id_ > 0) {
    out.mutable_probe()->set_probe_id(probe_answered_id_);
    out.mutable_probe()->set_answered(probe_answered_);
  }
  return out;
}

void NodeActor::publish() {
  v1::NodeReport report = build_report();
  // What moves all the time waits for the next regular report.
  v1::NodeReport significant = report;
  significant.set_flush_lsn(0);
  significant.set_replay_lsn(0);
  significant.set_data_bytes(0);
  significant.set_connections(0);
  significant.set_upstream_silent_ms(0);
  significant.set_stalled_ms(0);
  significant.clear_databases();
  if (significant.has_disk()) significant.mutable_disk()->clear_used_bytes();
  for (auto& standby : *significant.mutable_standbys()) {
    standby.set_flush_lsn(0);
    standby.set_lag_bytes(0);
    standby.set_reply_unix_us(0);
  }
  std::string bytes = significant.SerializeAsString();
  const bool changed = bytes != last_significant_;
  last_significant_ = std::move(bytes);
  {
    const std::lock_guard lock(mutex_);
    report_ = std::move(report);
  }
  if (changed) context_.report_changed();
}

v1::NodeReport NodeActor::build_report() const {
  v1::NodeReport out = compose_report();
  bound_texts(&out);
  return out;
}

v1::NodeReport NodeActor::compose_report() const {
  v1::NodeReport out;
  out.set_node_id(manifest_.node_id);
  out.set_instance_id(manifest_.instance_id);
  report_tasks(&out);
  report_disk(&out);
  report_objects(&out);
  switch (seen_.postgres) {
    case PostgresState::stopped:
      out.set_postgres(seen_.postmaster_alive ? v1::POSTGRES_STATE_STARTING
                                              : v1::POSTGRES_STATE_STOPPED);
      break;
    case PostgresState::starting:
      out.set_postgres(v1::POSTGRES_STATE_STARTING);
      break;
    case PostgresState::recovering:
      out.set_postgres(v1::POSTGRES_STATE_RECOVERING);
      break;
    case PostgresState::open:
      out.set_postgres(v1::POSTGRES_STATE_OPEN);
      break;
  }
  // A primary that was open and refuses its agent: that is all that is known of it.
  const bool was_open = seen_.postgres == PostgresState::starting && manifest_.role &&
                        manifest_.role->role == NodeRole::primary &&
                        seen_.data == DataState::primary &&
                        manifest_.opened_term == manifest_.role->term;
  out.set_answers(answers_ && was_open);
  out.set_recovers(recovers_ && was_open);
  if (seen_.postgres == PostgresState::open) {
    out.set_stalled_ms(static_cast<uint32_t>(stall_watch_.stalled().count()));
  }
  out.set_restarts(restarts_);
  out.set_quarantined(manifest_.quarantined);
  out.set_prepared_id(prepared_);
  out.set_restart_awaited(seen_.restart_deferred && prepared_at_ >= *restart_wanted_since_);
  out.set_data_bytes(disk_.total);
  if (seen_.data == DataState::primary) out.set_reported_role(v1::ROLE_PRIMARY);
  if (seen_.data == DataState::standby) out.set_reported_role(v1::ROLE_STANDBY);
  out.set_term(manifest_.opened_term);
  out.set_upstream_silent_ms(facts_ ? facts_->upstream_silent_ms : -1);
  *out.mutable_address() = report_address();
  for (const auto& size : database_sizes_) {
    v1::DatabaseReport* database = out.add_databases();
    database->set_database_id(size.database_id);
    database->set_name(size.name);
    database->set_bytes(size.bytes);
  }
  if (fence_holds_) {
    out.set_reported_role(v1::ROLE_FENCED);
    out.set_term(manifest_.role->term);
    out.set_upstream_silent_ms(facts_ ? boot_ms() - received_seen_ms_ : -1);
  }
  for (const TimelineSwitch& step : reported_history_) {
    v1::TimelineSwitch* entry = out.add_history();
    entry->set_timeline(step.timeline);
    entry->set_begin_lsn(step.begin_lsn);
  }
  if (!facts_ && stopped_end_) {
    out.set_timeline(stopped_end_->timeline);
    out.set_flush_lsn(stopped_end_->lsn);
    out.set_wal_end_exact(stopped_end_->exact);
  }
  if (!facts_) return out;
  out.set_timeline(facts_->timeline);
  out.set_flush_lsn(facts_->flush_lsn);
  out.set_replay_lsn(facts_->replay_lsn);
  out.set_wal_receiver_streaming(facts_->wal_receiver_streaming);
  if (facts_->in_recovery && manifest_.role) {
    out.set_upstream_node_id(manifest_.role->upstream_node_id);
  }
  for (const auto& standby : facts_->standbys) {
    v1::StandbyReport* entry = out.add_standbys();
    entry->set_node_id(standby.node_id);
    entry->set_state(standby.state);
    entry->set_sync_state(standby.sync_state);
    entry->set_flush_lsn(standby.flush_lsn);
    entry->set_lag_bytes(
        facts_->flush_lsn > standby.flush_lsn ? facts_->flush_lsn - standby.flush_lsn : 0);
    entry->set_reply_unix_us(standby.reply_unix_us);
  }
  if (reported_timeline_ > 0) out.set_timeline(reported_timeline_);
  if (seen_.postgres == PostgresState::open) out.set_sync_version(sync_in_force_);
  for (const auto& slot : facts_->slots) out.add_slots(slot.node_id);
  out.set_postmaster_started_unix_us(facts_->started_unix_us);
  out.set_connections(facts_->connections);
  return out;
}

void NodeActor::report_tasks(v1::NodeReport* out) const {
  for (const auto& [kind, progress] : progress_) {
    if (progress.generation == 0) continue;
    v1::TaskReport* task = nullptr;
    switch (kind) {
      case TaskKind::none:
        continue;
      case TaskKind::ensure:
        task = out->mutable_ensure();
        break;
      case TaskKind::role:
        task = out->mutable_role();
        break;
      case TaskKind::objects:
        task = out->mutable_objects();
        break;
      case TaskKind::remove:
        task = out->mutable_remove();
        break;
    }
    fill(task, progress.generation, progress.state);
    task->set_tries(progress.tries);
    task->set_step(progress.step);
    if (!progress.failure_code.empty()) {
      task->mutable_failure()->set_code(progress.failure_code);
      task->mutable_failure()->set_message(progress.failure_message);
    }
  }
}

void NodeActor::report_objects(v1::NodeReport* out) const {
  for (const auto& failure : object_failures_) {
    v1::ObjectReport* object = out->add_object_failures();
    object->set_kind(to_proto(failure.key.kind));
    object->set_object_id(failure.key.id);
    object->mutable_failure()->set_code(failure.code);
    object->mutable_failure()->set_message(failure.message);
  }
  for (const auto& seen : object_notes_) {
    v1::ObjectNoteReport* out_note = out->add_object_notes();
    out_note->set_scram_verifier(seen.verifier);
    v1::ObjectNote* note = out_note->mutable_note();
    note->set_kind(to_proto(seen.key.kind));
    note->set_object_id(seen.key.id);
    note->set_what(seen.what);
    note->set_detail(seen.detail);
    for (const auto& item : seen.items) note->add_items(item);
    note->set_count(seen.count);
    note->set_database_user(seen.database_user);
    note->set_seen_unix_us(seen.seen_unix_us);
  }
}

v1::NodeAddress NodeActor::report_address() const {
  v1::NodeAddress out;
  if (!manifest_.ensure) return out;
  const NodeAddress& address = manifest_.ensure->address;
  out.set_host(address.host);
  out.set_zone(address.zone);
  out.set_address(address.address);
  out.set_port(address.port);
  return out;
}

}  // namespace trunkline::agent
