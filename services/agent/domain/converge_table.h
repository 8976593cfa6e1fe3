// What an agent does next for one node: a table of rows {rule, when, step, why}; the first row
// whose `when` holds wins. Pure: the facts come in, one step goes out, the shell does it and looks
// again. Every step may be repeated and may be interrupted at any point.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/domain/node_spec.h"

namespace trunkline::agent {

// What is in the place of the node's data directory.
enum class DataState {
  absent,
  unsynced,  // made in an earlier boot and never known to be on disk: not to be trusted
  primary,   // no standby.signal
  standby,   // standby.signal
};

enum class PostgresState {
  stopped,
  starting,    // a postmaster, not yet accepting
  recovering,  // accepting reads
  open,        // accepting writes
};

struct Seen {
  bool image_here = false;
  bool box_ready = false;  // directories and cgroup are as the newest EnsureNode says
  DataState data = DataState::absent;
  bool data_unsynced = false;  // made in this boot, and not known to be on disk yet
  bool keeper_alive = false;
  bool postmaster_alive = false;
  bool data_gone_under_postmaster = false;
  PostgresState postgres = PostgresState::stopped;
  uint32_t quick_deaths = 0;     // of the postmaster in a row
  bool files_differ = false;     // configuration on disk is not what is wanted
  bool files_in_force = true;    // the running postmaster has read what is on disk
  bool restart_pending = false;  // it needs a restart to take all of it
  bool restart_deferred = false;  // its clients are spared that if another node takes over first
  bool size_untried = false;      // no server of it was seen to run with the size that it has
  bool slots_differ = false;     // of one that accepts connections
  bool sync_confirmed = true;    // the sync set on disk is known to be in force everywhere
  bool objects_differ = false;   // a newer ApplyObjects than the last one applied
  bool objects_check_due = false;
  bool port_in_use = false;   // the postmaster died of it, more than once
  std::string cannot_follow;  // why a standby cannot go on from its upstream, or ""
  Lineage lineage = Lineage::follows;  // of a standby's data, to the assigned history
  // The keeper's guard and lease (see keeper/keeper.h).
  bool guard_differs = false;   // a keeper that is there does not guard as assigned
  bool lease_held = false;      // one of the assigned term, or none is needed
  bool keeper_fenced = false;   // it runs no postmaster for want of a lease
  bool keeper_closed = false;   // its postmaster runs, and serves nobody for want of a lease
  bool lease_overdue = false;   // for so long that nobody seems to be there to grant one
  bool keeper_held = false;     // it would not start the postmaster again
  bool sync_armed = true;       // sessions will wait from a promotion's first commit on
  bool promotion_cut = false;   // died within its promotion: neither standby nor new primary
  bool promoting = false;       // was asked to, and has neither done so nor died
  bool receiver_ended = false;  // no WAL receiver runs, and none can connect
  bool end_known = false;       // of a fenced standby: its reported position is all that it has
  bool disk_stopped = false;    // it, or its host, ran out of disk: nothing may run
  bool patience_over = true;    // of a fenced primary: nobody is waited for (any more)
};

// The kind of task that a row works for; its TaskReport shows the progress.
enum class TaskKind { none, ensure, role, objects, remove };

enum class Step {
  none,
  wait,  // look again soon
  make_box,
  create_from_template,
  take_base_backup,
  replace_by_base_backup,
  write_files,  // and reload when something runs
  start,
  adopt,              // a postmaster whose keeper died gets a new keeper, and is not restarted
  kill_without_data,  // a postmaster whose directory is gone
  stop_quarantined,
  stop_for_disk,      // at once: a checkpoint would write
  restart,
  reload,
  await_lease,
  start_closed,  // its voters are asked instead
  set_guard,
  release_keeper,
  promote,
  await_promotion,
  withdraw_promotion,  // one that could still take effect
  resume_promotion,  // makes a standby again of what died within its promotion
  become_standby,    // of a primary's data that the upstream's goes on from
  rewind,
  checkpoint_and_part,  // a fenced primary takes leave of its clients
  stop_primary,         // and its keeper
  end_receiver,
  apply_slots,
  confirm_sync_set,
  sync_data,
  apply_objects,
  check_objects,
  remove,
  refuse,  // a failure that only a new assignment can end; `why` says it
};

struct Row {
  const char* rule;
  bool (*when)(const Manifest&, const Seen&);
  Step step;
  TaskKind kind;
  const char* why;
};

struct Decision {
  std::string rule;
  Step step = Step::none;
  TaskKind kind = TaskKind::none;
  std::string why;
};

inline constexpr uint32_t kCrashLoopDeaths = 5;

const std::vector<Row>& converge_table();
Decision decide_step(const Manifest& assigned, const Seen& seen);

const char* to_text(Step step);
const char* to_text(TaskKind kind);

}  // namespace trunkline::agent
