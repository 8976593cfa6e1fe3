#include "agent/domain/converge_table.h"

namespace trunkline::agent {
namespace {

using M = Manifest;
using S = Seen;

bool primary(const M& m) {
  return m.role && m.role->role == NodeRole::primary;
}
bool standby(const M& m) {
  return m.role && m.role->role == NodeRole::standby;
}
bool fenced(const M& m) {
  return m.role && m.role->role == NodeRole::fenced;
}
bool has_data(const S& s) {
  return s.data == DataState::primary || s.data == DataState::standby;
}
bool runs(const S& s) {
  return s.postmaster_alive || s.keeper_alive;
}
bool first_formation(const M& m) {
  return !m.role->opened_before && !m.formed;
}
bool accepting(const S& s) {
  return s.postgres == PostgresState::open || s.postgres == PostgresState::recovering;
}

const std::vector<Row> kTable = {
    {"remove_assigned", [](const M& m, const S&) { return m.remove; }, Step::remove,
     TaskKind::remove, "the node is to go"},
    {"quarantined_runs", [](const M& m, const S& s) { return m.quarantined && runs(s); },
     Step::stop_quarantined, TaskKind::role, "nobody knows it"},
    {"quarantined", [](const M& m, const S&) { return m.quarantined; }, Step::none,
     TaskKind::none, "nobody knows it: it is kept as it is"},
    {"box_not_described", [](const M& m, const S&) { return !m.ensure; }, Step::none,
     TaskKind::none, "nobody has said what the node is"},
    {"data_gone_under_postmaster",
     [](const M&, const S& s) { return s.postmaster_alive && s.data_gone_under_postmaster; },
     Step::kill_without_data, TaskKind::role, "the data directory of a running postmaster is gone"},
    {"promotion_withdrawn",
     [](const M& m, const S& s) {
       return m.role && s.promoting && !(primary(m) && m.promoted_term == m.role->term);
     },
     Step::withdraw_promotion, TaskKind::role, "it was to be primary in a term that is over"},
    {"fenced_primary_parts",
     [](const M& m, const S& s) {
       return fenced(m) && s.data == DataState::primary && s.postgres == PostgresState::open &&
              !s.patience_over;
     },
     Step::checkpoint_and_part, TaskKind::role, "its clients are given time to leave"},
    {"fenced_primary_runs",
     [](const M& m, const S& s) { return fenced(m) && s.data == DataState::primary && runs(s); },
     Step::stop_primary, TaskKind::role, "a fenced primary does not serve"},
    {"former_primary_runs",
     [](const M& m, const S& s) { return standby(m) && s.data == DataState::primary && runs(s); },
     Step::stop_primary, TaskKind::role, "another is primary now"},
    {"keeper_lost", [](const M&, const S& s) { return s.postmaster_alive && !s.keeper_alive; },
     Step::adopt, TaskKind::role, "the postmaster runs without its keeper"},
    {"image_missing", [](const M&, const S& s) { return !s.image_here && !s.postmaster_alive; },
     Step::refuse, TaskKind::ensure, "image_missing: this host does not have the image"},
    {"box_not_ready", [](const M&, const S& s) { return !s.box_ready; }, Step::make_box,
     TaskKind::ensure, "directories and limits are not as ordered"},
    {"disk_stopped_runs",
     [](const M& m, const S& s) { return m.role && !fenced(m) && s.disk_stopped && runs(s); },
     Step::stop_for_disk, TaskKind::ensure, "it grows although nobody is let in"},
    {"disk_stopped",
     [](const M& m, const S& s) { return m.role && !fenced(m) && s.disk_stopped; }, Step::refuse,
     TaskKind::ensure, "disk_full: disk_size is used up; the server is stopped for a while"},

    {"fenced_without_data", [](const M& m, const S& s) { return fenced(m) && !has_data(s); },
     Step::refuse, TaskKind::role, "no_data: the node has nothing that it could hold"},
    {"fenced_primary_stopped",
     [](const M& m, const S& s) { return fenced(m) && s.data == DataState::primary; }, Step::none,
     TaskKind::none, "it has stopped and is not started"},

    {"promotion_cut",
     [](const M& m, const S& s) { return primary(m) && s.promotion_cut && !s.postmaster_alive; },
     Step::resume_promotion, TaskKind::role, "the promotion did not come to its end"},
    {"promotion_not_fenced",
     [](const M& m, const S& s) {
       return primary(m) && s.data == DataState::standby && m.role->timeline == 0 &&
              m.fenced_term != m.role->term;
     },
     Step::refuse, TaskKind::role,
     "not_fenced: a standby needs a timeline of its own, or to be fenced in the term, to open"},
    {"standby_left_history",
     [](const M& m, const S& s) {
       return standby(m) && has_data(s) && s.lineage == Lineage::rewind;
     },
     Step::rewind, TaskKind::role, "its WAL goes on where the group's history left the timeline"},
    {"standby_of_another_history",
     [](const M& m, const S& s) {
       return standby(m) && has_data(s) && s.lineage == Lineage::replace;
     },
     Step::replace_by_base_backup, TaskKind::role, "its timelines are not those of the group"},
    {"history_awaited",
     [](const M& m, const S& s) {
       return standby(m) && s.data == DataState::primary && s.lineage == Lineage::newer;
     },
     Step::wait, TaskKind::role, "the group's history has yet to name its newest timeline"},
    {"standby_was_primary",
     [](const M& m, const S& s) { return standby(m) && s.data == DataState::primary; },
     Step::become_standby, TaskKind::role, "the group's history goes on from where it stopped"},
    {"primary_first",
     [](const M& m, const S& s) {
       return primary(m) && s.data == DataState::absent && first_formation(m);
     },
     Step::create_from_template, TaskKind::role, "first primary of the group"},
    {"primary_data_lost",
     [](const M& m, const S& s) {
       return primary(m) && (s.data == DataState::absent || s.data == DataState::unsynced);
     },
     Step::refuse, TaskKind::role,
     "data_lost: the data directory of the primary is gone; it is not made anew"},
    {"standby_first",
     [](const M& m, const S& s) {
       return standby(m) && (s.data == DataState::absent || s.data == DataState::unsynced);
     },
     Step::take_base_backup, TaskKind::role, "the standby has no data"},
    {"port_in_use",
     [](const M& m, const S& s) {
       return m.role && s.port_in_use && !accepting(s) && !s.files_differ;
     },
     Step::refuse, TaskKind::role,
     "port_in_use: another process of the host listens on the node's port"},
    {"standby_cannot_follow",
     [](const M& m, const S& s) {
       return standby(m) && s.data == DataState::standby && !s.cannot_follow.empty();
     },
     Step::replace_by_base_backup, TaskKind::role,
     "the standby cannot follow its upstream any more"},
    {"standby_crash_loop",
     [](const M& m, const S& s) {
       return standby(m) && s.data == DataState::standby && !s.port_in_use && !s.size_untried &&
              s.quick_deaths >= kCrashLoopDeaths;
     },
     Step::replace_by_base_backup, TaskKind::role, "the standby's postmaster does not stay up"},

    {"promotion_under_way", [](const M& m, const S& s) { return primary(m) && s.promoting; },
     Step::await_promotion, TaskKind::role, "the server has yet to open"},
    {"promotion_slots_differ",
     [](const M& m, const S& s) {
       return primary(m) && s.data == DataState::standby &&
              s.postgres == PostgresState::recovering && s.slots_differ;
     },
     Step::apply_slots, TaskKind::role, "its standbys follow it through its promotion"},
    {"guard_not_in_force",
     [](const M& m, const S& s) {
       return m.role && s.keeper_alive && s.guard_differs && s.lease_held;
     },
     Step::set_guard, TaskKind::role, "the keeper does not know the voters yet"},
    {"lease_overdue",
     [](const M& m, const S& s) {
       return primary(m) && s.data == DataState::primary && m.opened_term == m.role->term &&
              s.keeper_fenced && s.lease_overdue && !s.guard_differs && !s.keeper_held;
     },
     Step::start_closed, TaskKind::role, "nobody grants a lease: its voters may carry it"},
    {"lease_awaited",
     [](const M& m, const S& s) {
       return primary(m) && s.keeper_alive &&
              (s.guard_differs || s.keeper_fenced || s.keeper_closed);
     },
     Step::await_lease, TaskKind::role, "it serves, and takes new voters, only under a lease"},
    {"keeper_held",
     [](const M& m, const S& s) {
       return m.role && s.keeper_held && !(primary(m) && s.data == DataState::standby);
     },
     Step::release_keeper, TaskKind::role, "its postmaster may be started again"},
    {"files_differ", [](const M& m, const S& s) { return m.role && s.files_differ; },
     Step::write_files, TaskKind::role, "configuration on disk is not as ordered"},
    {"stopped",
     [](const M& m, const S& s) { return m.role && !s.keeper_alive && !s.postmaster_alive; },
     Step::start, TaskKind::role, "the node shall run"},
    {"primary_crash_loop",
     [](const M& m, const S& s) {
       return m.role && s.quick_deaths >= kCrashLoopDeaths && !accepting(s);
     },
     Step::refuse, TaskKind::role,
     "postmaster_crash_loop: the postmaster does not stay up; it is tried on"},
    {"starting", [](const M& m, const S& s) { return m.role && !accepting(s); }, Step::wait,
     TaskKind::role, "the postmaster is not accepting yet"},
    {"files_not_in_force", [](const M& m, const S& s) { return m.role && !s.files_in_force; },
     Step::reload, TaskKind::role, "the postmaster has not read its configuration"},
    {"promotion_sync_not_armed",
     [](const M& m, const S& s) {
       return primary(m) && s.data == DataState::standby && !s.sync_armed;
     },
     Step::confirm_sync_set, TaskKind::role, "its first commit must wait for the sync set"},
    {"promotion",
     [](const M& m, const S& s) { return primary(m) && s.data == DataState::standby; },
     Step::promote, TaskKind::role, "the node is to be primary"},
    {"fenced_standby_receives",
     [](const M& m, const S& s) { return fenced(m) && !s.receiver_ended; },
     Step::end_receiver, TaskKind::role, "a fenced standby takes nothing more"},
    {"fenced_standby_replays", [](const M& m, const S& s) { return fenced(m) && !s.end_known; },
     Step::wait, TaskKind::role, "what it has is not known before it is replayed"},
    {"fenced_standby", [](const M& m, const S&) { return fenced(m); }, Step::none, TaskKind::none,
     "it holds still"},
    {"restart_pending",
     [](const M& m, const S& s) { return m.role && s.restart_pending && !s.restart_deferred; },
     Step::restart, TaskKind::ensure, "a setting needs a restart"},
    {"data_not_synced", [](const M& m, const S& s) { return m.role && s.data_unsynced; },
     Step::sync_data, TaskKind::role, "the base backup is not on disk yet"},
    {"slots_differ",
     [](const M& m, const S& s) {
       return ((primary(m) && s.postgres == PostgresState::open) ||
               (standby(m) && s.postgres == PostgresState::recovering)) &&
              s.slots_differ;
     },
     Step::apply_slots, TaskKind::role, "replication slots are not as ordered"},
    {"sync_set_not_confirmed",
     [](const M& m, const S& s) {
       return (standby(m) || (primary(m) && s.postgres == PostgresState::open)) &&
              !s.sync_confirmed;
     },
     Step::confirm_sync_set, TaskKind::role, "the sync set is not known to be in force"},
    {"objects_differ",
     [](const M& m, const S& s) {
       return primary(m) && m.objects && s.postgres == PostgresState::open && s.objects_differ;
     },
     Step::apply_objects, TaskKind::objects, "users or databases are not as ordered"},
    {"objects_check_due",
     [](const M& m, const S& s) {
       return primary(m) && m.objects && s.postgres == PostgresState::open && s.objects_check_due;
     },
     Step::check_objects, TaskKind::objects, "a tenant may have changed users or databases"},
    {"restart_deferred",
     [](const M& m, const S& s) { return m.role && s.restart_pending && s.restart_deferred; },
     Step::wait, TaskKind::ensure, "a setting needs a restart, and another node can take over"},
    {"as_ordered", [](const M&, const S&) { return true; }, Step::none, TaskKind::none,
     "the node is as ordered"},
};

}  // namespace

const std::vector<Row>& converge_table() {
  return kTable;
}

Decision decide_step(const Manifest& assigned, const Seen& seen) {
  for (const Row& row : kTable) {
    if (row.when(assigned, seen)) return {row.rule, row.step, row.kind, row.why};
  }
  return {};
}

const char* to_text(Step step) {
  switch (step) {
    case Step::none:
      return "";
    case Step::wait:
      return "starting postmaster";
    case Step::make_box:
      return "making directories and limits";
    case Step::create_from_template:
      return "copying template";
    case Step::take_base_backup:
      return "base backup";
    case Step::replace_by_base_backup:
      return "base backup (rebuild)";
    case Step::write_files:
      return "writing configuration";
    case Step::start:
      return "starting postmaster";
    case Step::adopt:
      return "adopting postmaster";
    case Step::kill_without_data:
      return "stopping postmaster without data";
    case Step::stop_quarantined:
      return "stopping what nobody knows";
    case Step::stop_for_disk:
      return "stopping postmaster for want of disk";
    case Step::restart:
      return "restarting postmaster";
    case Step::reload:
      return "reloading configuration";
    case Step::await_lease:
      return "waiting for a lease";
    case Step::start_closed:
      return "asking the voters";
    case Step::set_guard:
      return "telling the keeper its voters";
    case Step::release_keeper:
      return "releasing the keeper";
    case Step::promote:
      return "promoting";
    case Step::await_promotion:
      return "promoting";
    case Step::withdraw_promotion:
      return "withdrawing promotion";
    case Step::resume_promotion:
      return "resuming promotion";
    case Step::become_standby:
      return "becoming a standby";
    case Step::rewind:
      return "rewinding";
    case Step::checkpoint_and_part:
      return "waiting for clients to leave";
    case Step::stop_primary:
      return "stopping the former primary";
    case Step::end_receiver:
      return "ending the WAL receiver";
    case Step::apply_slots:
      return "applying replication slots";
    case Step::confirm_sync_set:
      return "confirming sync set";
    case Step::sync_data:
      return "writing data to disk";
    case Step::apply_objects:
      return "applying users and databases";
    case Step::check_objects:
      return "checking users and databases";
    case Step::remove:
      return "removing";
    case Step::refuse:
      return "refused";
  }
  return "";
}

const char* to_text(TaskKind kind) {
  switch (kind) {
    case TaskKind::none:
      return "none";
    case TaskKind::ensure:
      return "ensure";
    case TaskKind::role:
      return "role";
    case TaskKind::objects:
      return "objects";
    case TaskKind::remove:
      return "remove";
  }
  return "";
}

}  // namespace trunkline::agent
