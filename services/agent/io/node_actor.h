// One node on this host: a thread of its own that makes the node as assigned, looks at it, and says
// what it sees. A node that hangs (a frozen postmaster, a slow disk, a base backup that takes
// hours) therefore holds up nobody else. assign(), grant(), report() and finished() may be called
// from any thread; everything else happens on the node's thread.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "agent/domain/converge_table.h"
#include "agent/domain/follow_facts.h"
#include "agent/domain/objects_plan.h"
#include "agent/domain/postgres_settings.h"
#include "agent/domain/stall_watch.h"
#include "agent/io/agent_context.h"
#include "agent/io/disk_watch.h"
#include "agent/io/keeper_client.h"
#include "agent/io/pg_connection.h"
#include "agent/io/postgres_facts.h"
#include "agent/io/process.h"
#include "agent/io/session_probe.h"
#include "telemetry/attributes.h"
#include "telemetry/telemetry.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::agent {

struct RemoveOrder {};
struct QuarantineOrder {};
struct ProbeOrder {
  uint64_t probe_id = 0;
};
struct PrepareOrder {
  uint64_t prepare_id = 0;
};
struct Assignment {
  std::string instance_id;
  std::string traceparent;
  std::variant<EnsureSpec, RoleSpec, ObjectsSpec, RemoveOrder, ProbeOrder, PrepareOrder,
               QuarantineOrder>
      body;
};

// Who is let into the node's server.
struct AccessFiles {
  std::string hba;
  std::string closed_hba;
  std::string ident;
};

class NodeActor {
 public:
  NodeActor(AgentContext& context, Manifest manifest);
  // Stops the thread; the node's keeper and postmaster go on.
  ~NodeActor();
  NodeActor(const NodeActor&) = delete;
  NodeActor& operator=(const NodeActor&) = delete;

  void start();
  void assign(Assignment assignment);
  // A lease of the node as primary of `term`, until then on CLOCK_BOOTTIME. Reaches the keeper at
  // once, whatever the node's thread does.
  void grant(uint64_t term, int64_t until_ms);
  v1::NodeReport report() const;
  bool finished() const { return finished_; }  // removed; may be destroyed

 private:
  using Clock = std::chrono::steady_clock;

  struct Progress {
    uint64_t generation = 0;
    v1::TaskState state = v1::TASK_STATE_NOT_STARTED;
    std::string failure_code;
    std::string failure_message;
    uint32_t tries = 0;
    std::string step;
    Clock::time_point next_try{};
    Clock::time_point since{};
    Clock::time_point refused_again{};  // when a refusal counts as one more try
    std::string traceparent;
  };

  // node_actor.cc
  void run();
  bool take_inbox();  // true if the manifest changed
  bool take(const Assignment& assignment);
  void save_manifest();
  void keep_trying_to_save();
  void refuse_unsaved();
  void save_later() { manifest_dirty_ = true; }  // what can be found out again
  void settle(const Decision& decision);
  void set_done(TaskKind kind);
  void set_failed(TaskKind kind, const std::string& code, const std::string& message);
  void wait(std::chrono::milliseconds longest);
  bool is_unsettled() const { return Clock::now() - unsettled_since_ < std::chrono::seconds(30); }
  // How much longer than one alone would each has to wait while many nodes of the host look again.
  uint32_t crowd() const;
  std::chrono::milliseconds crowded(std::chrono::milliseconds pause) const;
  // How long to wait before looking again at what is under way: the longer it takes, the longer.
  std::chrono::milliseconds paced(std::chrono::milliseconds least) const;
  std::chrono::milliseconds idle_time() const;
  void note_hurry(bool hurries);
  void publish();
  v1::NodeReport build_report() const;  // all its texts are within bounds
  v1::NodeReport compose_report() const;
  void report_tasks(v1::NodeReport* out) const;
  void report_objects(v1::NodeReport* out) const;
  v1::NodeAddress report_address() const;

  // node_observe.cc
  void observe();
  void observe_process();
  void observe_facts();
  void refresh_facts();
  void observe_following();
  OwnEnd own_end();
  void observe_port();
  void observe_slow();
  DataState data_state() const;
  void load_files();
  bool slots_differ() const;
  bool sync_confirmed() const;
  std::string wanted_conf() const;
  std::string guard_source() const;  // of the image's version, beside our programs; "": none
  void place_guard() const;
  void drop_facts();
  bool standbys_streaming() const;

  // node_box.cc
  void take_own_user();
  void make_box();
  void observe_certificate();
  AccessFiles access_files() const;
  std::string door() const;
  void observe_door();
  void remove_node();

  // node_size.cc
  bool keeps_floor() const;
  void observe_floor();
  void observe_size();
  void observe_restart();
  void report_refused_size();
  void load_floor(const std::string& directory);
  // node_disk.cc
  void observe_disk();
  void observe_writes();
  void report_disk(v1::NodeReport* out) const;
  void await_room_for_copy() const;  // throws where the host has none

  // node_steps.cc
  void perform(const Decision& decision);
  void create_from_template();
  void base_backup(bool replace);
  void mark_unsynced(bool unsynced);
  void put_data_in_place(NodeRole role);
  void write_files(const std::string& directory);
  void start_postmaster(pid_t adopt);
  void reload();
  void restart_postmaster();
  void stop_postmaster(std::chrono::milliseconds fast, std::chrono::milliseconds immediate);
  void apply_slots();
  void drop_slot(const std::string& name);
  void confirm_sync_set();
  void sync_data();
  void run_objects(bool check);
  PgConnection& sql();

  // node_sessions.cc
  std::vector<pid_t> tenant_sessions(const char* condition);
  size_t signal_children(const std::vector<pid_t>& pids, int signal) const;
  void observe_replay();
  bool clear_of_sessions();
  void forget_parting();
  void find_senders();
  void end_late_senders(std::chrono::milliseconds stopping_for);

  // node_health.cc
  void observe_health();
  void relieve_lock_table();

  // node_lease.cc
  std::optional<Guard> wanted_guard() const;  // nothing: whatever the keeper has
  std::string guard_words(const Guard& guard) const;
  void observe_lease();
  void set_guard();
  void start_closed();
  void probe(uint64_t probe_id);

  // node_failover.cc
  void observe_fence();
  void observe_history();
  std::vector<std::string> wal_names() const;
  uint64_t segment_bytes();
  uint32_t own_timeline() const;
  std::vector<TimelineSwitch> own_history(uint32_t timeline);
  std::optional<ControlData> read_control() const;
  void read_stopped_end();
  void part();
  void stop_primary();
  void end_receiver();
  PgConnection checkpoint();  // that has begun
  void observe_preparation();
  bool is_prepared() const;  // for the stop that its newest role asks for
  void observe_checkpoint();
  bool checkpoint_closed();  // nothing is outstanding of closing_checkpoint_
  void link_upstream_key(bool there) const;

  // node_promotion.cc
  void promote();
  void observe_promotion();
  void await_promotion();
  void withdraw_promotion();
  void take_timelines(uint32_t own) const;
  void drop_borrowed_timelines() const;
  void resume_promotion();

  // node_rejoin.cc
  std::string upstream_conninfo(const RoleSpec& role) const;
  void observe_lineage();
  void become_standby();
  void rewind();
  bool run_rewind(const RoleSpec& role, std::string* complaint);
  void keep_forked_wal();
  void make_standby_of_data();
  bool upstream_ready_for_rewind(const RoleSpec& role) const;

  AgentContext& context_;
  const NodePaths paths_;
  NodeUser user_;  // that the node's server runs as; the owner of its directory
  bool own_user_failed_ = false;
  std::string door_;         // as it was written
  std::string certificate_;  // digest of the one it has; "": not looked yet
  Clock::time_point certificate_checked_{};
  Manifest manifest_;
  bool manifest_dirty_ = false;
  std::map<TaskKind, Progress> progress_;

  mutable std::mutex mutex_;  // inbox_, report_
  std::vector<Assignment> inbox_;
  v1::NodeReport report_;
  Fd wake_fd_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> finished_{false};
  std::thread thread_;
  std::string last_significant_;
  bool hurries_ = false;  // counted in context_.in_a_hurry

  Seen seen_;
  std::string last_rule_;  // newest that was logged: tries are not logged one by one
  std::optional<EnsureSpec> box_made_for_;
  std::vector<std::string> cgroup_procs_;
  std::string conf_on_disk_;
  bool conf_loaded_ = false;
  StandbyFloor floor_;
  bool floor_loaded_ = false;
  uint64_t floor_generation_ = 0;  // EnsureSpec, and deaths, at the time
  uint32_t floor_deaths_ = 0;
  Clock::time_point floor_again_at_;
  std::optional<Clock::time_point> restart_wanted_since_;
  uint64_t size_generation_ = 0;  // EnsureSpec whose size is being tried
  uint32_t deaths_before_ = 0;    // quick ones, that are not its own
  DiskSeen disk_;
  std::optional<EnsureSpec> disk_followed_;
  uid_t disk_followed_as_ = 0;
  std::string writes_why_;  // nothing: clients can write
  int64_t writes_since_us_ = 0;

  std::optional<KeeperStatus> keeper_;
  Fd keeper_pidfd_;
  Fd postmaster_pidfd_;
  pid_t postmaster_pid_ = 0;
  uint64_t restarts_ = 0;
  bool ran_ = false;  // accepting was seen, and nobody has stopped it since

  std::optional<PgConnection> sql_;
  std::optional<PostgresFacts> facts_;
  Clock::time_point facts_at_{};
  int late_answers_ = 0;  // in a row
  Clock::time_point unsettled_since_{};
  std::string restart_checked_;  // configuration and start for which restart_pending is known
  std::string mark_in_force_;    // newest configuration that the server was seen to run with
  // A checkpoint that is waited for: when it has ended, the checkpointer has read the sync set.
  std::optional<PgConnection> barrier_;
  std::string barrier_for_;
  uint64_t sync_in_force_ = 0;  // newest sync_version that is known to be in force

  bool new_upstream_ = false;  // what the log said so far is about another one
  std::string suspected_;      // why it cannot follow, seen once
  Clock::time_point not_streaming_since_{};
  Clock::time_point following_checked_{};

  // A checkpoint before a stop that is likely to come.
  uint64_t prepare_wanted_ = 0;
  uint64_t prepare_begun_ = 0;
  uint64_t prepared_ = 0;
  Clock::time_point prepared_at_{};
  std::optional<PgConnection> preparing_;
  std::optional<PgConnection> closing_checkpoint_;  // of a fenced primary; or after a promotion
  std::optional<Clock::time_point> promoted_at_;    // until the checkpoint after it has begun
  std::optional<Clock::time_point> promoting_since_;  // asked for, and neither done nor cut off
  bool promotion_unsure_ = false;  // its server was not seen for a while
  std::optional<Clock::time_point> replay_blocked_since_;
  uint64_t blocked_at_lsn_ = 0;

  // Of a fenced primary that is about to stop.
  std::optional<Clock::time_point> parting_since_;
  std::optional<Clock::time_point> sessions_told_at_;
  bool sessions_killed_ = false;
  size_t standbys_before_ = 0;
  std::vector<pid_t> senders_;
  std::vector<pid_t> laggards_;

  bool answers_ = false;  // refused a question, and so lives
  bool recovers_ = false;  // the postmaster that was open lives and starts its server anew
  pid_t open_pid_ = 0;     // of the postmaster that was seen open last
  StallWatch stall_watch_;
  SessionProbe session_probe_;
  Clock::time_point ask_session_at_{};
  Clock::time_point wal_looked_at_{};  // facts_at_ of then
  Clock::time_point locks_relieved_at_{};
  std::string unsaved_;  // why the manifest is not on disk as it is here; "": it is
  uint64_t last_flush_lsn_ = 0;                     // of facts that are gone
  bool fence_holds_ = false;                        // the newest decision found it holding still
  std::atomic<bool> lease_awaited_{false};
  std::optional<Clock::time_point> fenced_since_;
  uint64_t received_lsn_ = 0;
  int64_t received_seen_ms_ = 0;  // when the node was first seen to have it
  Clock::time_point end_seen_at_{};                 // when a fenced standby's end was first known
  struct StoppedEnd {
    uint32_t timeline = 0;
    uint64_t lsn = 0;
    bool exact = false;
  };
  std::optional<StoppedEnd> stopped_end_;  // of a primary's data that is not running
  uint32_t reported_timeline_ = 0;  // of a fenced standby's end
  std::vector<TimelineSwitch> reported_history_;
  uint32_t history_timeline_ = 0;
  uint64_t segment_bytes_ = 0;  // of its WAL; 0: not known yet
  std::vector<TimelineSwitch> history_;
 
  mutable std::mutex lease_mutex_;  // down to probe_answered_
  uint64_t lease_term_ = 0;
  int64_t lease_until_ms_ = 0;
  int64_t served_until_ms_ = 0;  // as the keeper said last, of guard_term_
  uint64_t guard_term_ = 0;
  NodeAddress probe_target_;
  uint64_t probe_id_ = 0;
  bool probe_running_ = false;
  uint64_t probe_answered_id_ = 0;
  bool probe_answered_ = false;
  std::future<void> probing_;

  uint64_t objects_applied_ = 0;
  std::vector<ObjectFailure> object_failures_;
  std::vector<ObjectNote> object_notes_;
  Clock::time_point objects_check_at_{};
  Clock::time_point slow_check_at_{};
  std::vector<DatabaseSize> database_sizes_;

  std::optional<telemetry::Span> start_span_;
  std::optional<telemetry::Span> promotion_span_;
};

}  // namespace trunkline::agent
