// The converge table: each row wins in the situation it is for, and the golden dump.
#include "agent/domain/converge_table.h"

#include <gtest/gtest.h>

#include <set>

#include "agent/domain/retry_backoff.h"

namespace trunkline::agent {
namespace {

Manifest manifest(NodeRole role) {
  Manifest m;
  m.node_id = "n";
  m.ensure = EnsureSpec{1, "postgresql-15", {1, 512, 8}, {}};
  if (role != NodeRole::none) {
    m.role = RoleSpec{};
    m.role->term = 1;
    m.role->role = role;
  }
  return m;
}

Seen running(NodeRole role) {
  Seen s;
  s.image_here = s.box_ready = s.keeper_alive = s.postmaster_alive = true;
  s.data = role == NodeRole::standby ? DataState::standby : DataState::primary;
  s.postgres = role == NodeRole::standby ? PostgresState::recovering : PostgresState::open;
  return s;
}

Seen down(DataState data) {
  Seen s;
  s.image_here = s.box_ready = true;
  s.data = data;
  return s;
}

struct Row {
  const char* rule;
  NodeRole role;
  Seen seen;
  void (*change)(Manifest&, Seen&);
};

const Row kRows[] = {
    {"remove_assigned", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen&) { m.remove = true; }},
    {"quarantined_runs", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen&) { m.quarantined = true; }},
    {"quarantined", NodeRole::primary, down(DataState::primary),
     [](Manifest& m, Seen&) { m.quarantined = true; }},
    {"quarantined_runs", NodeRole::none, running(NodeRole::primary),
     [](Manifest& m, Seen&) {
       m.quarantined = true;
       m.ensure.reset();
     }},
    {"remove_assigned", NodeRole::primary, down(DataState::primary),
     [](Manifest& m, Seen&) { m.quarantined = m.remove = true; }},
    {"disk_stopped_runs", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.disk_stopped = true; }},
    {"disk_stopped_runs", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.disk_stopped = true; }},
    {"disk_stopped", NodeRole::primary, down(DataState::primary),
     [](Manifest&, Seen& s) { s.disk_stopped = true; }},
    {"fenced_primary_stopped", NodeRole::fenced, down(DataState::primary),
     [](Manifest&, Seen& s) { s.disk_stopped = true; }},
    {"box_not_described", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen&) { m.ensure.reset(); }},
    {"data_gone_under_postmaster", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) {
       s.data_gone_under_postmaster = true;
       s.data = DataState::absent;
     }},
    {"keeper_lost", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.keeper_alive = false; }},
    {"image_missing", NodeRole::primary, down(DataState::primary),
     [](Manifest&, Seen& s) { s.image_here = false; }},
    {"as_ordered", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.image_here = false; }},
    {"box_not_ready", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.box_ready = false; }},
    {"fenced_primary_parts", NodeRole::fenced, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.patience_over = false; }},
    {"fenced_primary_runs", NodeRole::fenced, running(NodeRole::primary), nullptr},
    {"fenced_primary_runs", NodeRole::fenced, running(NodeRole::primary),
     [](Manifest&, Seen& s) {
       s.keeper_alive = false;
       s.patience_over = false;
       s.postgres = PostgresState::starting;
     }},
    {"fenced_primary_runs", NodeRole::fenced, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.postmaster_alive = false; }},
    {"fenced_primary_stopped", NodeRole::fenced, down(DataState::primary), nullptr},
    {"former_primary_runs", NodeRole::standby, running(NodeRole::primary), nullptr},
    {"fenced_without_data", NodeRole::fenced, down(DataState::absent), nullptr},
    {"fenced_without_data", NodeRole::fenced, down(DataState::unsynced), nullptr},
    {"promotion_cut", NodeRole::primary, down(DataState::primary),
     [](Manifest&, Seen& s) { s.promotion_cut = true; }},
    {"promotion_not_fenced", NodeRole::primary, down(DataState::standby), nullptr},
    {"promotion_not_fenced", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen&) {
       m.fenced_term = 1;
       m.role->term = 2;
     }},
    {"standby_left_history", NodeRole::standby, down(DataState::primary),
     [](Manifest&, Seen& s) { s.lineage = Lineage::rewind; }},
    {"standby_left_history", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.lineage = Lineage::rewind; }},
    {"standby_of_another_history", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.lineage = Lineage::replace; }},
    {"standby_of_another_history", NodeRole::standby, down(DataState::primary),
     [](Manifest&, Seen& s) { s.lineage = Lineage::replace; }},
    {"history_awaited", NodeRole::standby, down(DataState::primary),
     [](Manifest&, Seen& s) { s.lineage = Lineage::newer; }},
    {"standby_was_primary", NodeRole::standby, down(DataState::primary), nullptr},
    {"primary_first", NodeRole::primary, down(DataState::absent), nullptr},
    {"primary_data_lost", NodeRole::primary, down(DataState::absent),
     [](Manifest& m, Seen&) { m.formed = true; }},
    {"primary_first", NodeRole::primary, down(DataState::absent),
     [](Manifest& m, Seen&) { m.role->term = 2; }},
    {"primary_data_lost", NodeRole::primary, down(DataState::absent),
     [](Manifest& m, Seen&) { m.role->opened_before = true; }},
    {"primary_data_lost", NodeRole::primary, down(DataState::unsynced), nullptr},
    {"standby_first", NodeRole::standby, down(DataState::absent), nullptr},
    {"standby_first", NodeRole::standby, down(DataState::unsynced),
     [](Manifest& m, Seen&) { m.formed = true; }},
    {"port_in_use", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) {
       s.port_in_use = true;
       s.quick_deaths = kCrashLoopDeaths;
       s.postgres = PostgresState::stopped;
     }},
    {"standby_cannot_follow", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.cannot_follow = "wal_removed"; }},
    {"standby_crash_loop", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.quick_deaths = kCrashLoopDeaths; }},
    {"promotion_slots_differ", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {
       m.role->timeline = 2;
       s.slots_differ = s.guard_differs = s.files_differ = true;
     }},
    {"guard_not_in_force", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.guard_differs = s.lease_held = s.files_differ = true; }},
    {"lease_awaited", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.guard_differs = s.files_differ = true; }},
    {"lease_awaited", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) {
       s.keeper_fenced = true;
       s.postmaster_alive = false;
       s.postgres = PostgresState::stopped;
     }},
    {"lease_awaited", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.keeper_closed = true; }},
    {"lease_overdue", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen& s) {
       s.keeper_fenced = s.lease_overdue = true;
       s.postmaster_alive = false;
       s.postgres = PostgresState::stopped;
       m.opened_term = m.role->term;
     }},
    // It never served in this term: it may have been cut off in its promotion.
    {"lease_awaited", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.keeper_fenced = s.lease_overdue = true; }},
    // The voters that its keeper would ask are not those of the role.
    {"lease_awaited", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen& s) {
       s.keeper_fenced = s.lease_overdue = s.guard_differs = true;
       m.opened_term = m.role->term;
     }},
    {"keeper_held", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.keeper_held = true; }},
    {"files_differ", NodeRole::fenced, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.files_differ = true; }},
    {"stopped", NodeRole::fenced, down(DataState::standby), nullptr},
    {"promotion_sync_not_armed", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {
       m.fenced_term = 1;
       s.sync_armed = false;
     }},
    {"promotion", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {
       m.fenced_term = 1;
       s.keeper_held = s.restart_pending = true;
     }},
    {"promotion", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen&) { m.role->timeline = 2; }},
    {"fenced_standby_receives", NodeRole::fenced, running(NodeRole::standby), nullptr},
    {"fenced_standby_replays", NodeRole::fenced, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.receiver_ended = true; }},
    {"fenced_standby", NodeRole::fenced, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.receiver_ended = s.end_known = s.restart_pending = true; }},
    {"sync_set_not_confirmed", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.sync_confirmed = false; }},
    {"files_differ", NodeRole::primary, down(DataState::primary),
     [](Manifest&, Seen& s) { s.files_differ = true; }},
    {"stopped", NodeRole::primary, down(DataState::primary), nullptr},
    {"stopped", NodeRole::standby, down(DataState::standby), nullptr},
    {"primary_crash_loop", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) {
       s.quick_deaths = kCrashLoopDeaths;
       s.postgres = PostgresState::stopped;
       s.postmaster_alive = false;
     }},
    {"starting", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.postgres = PostgresState::starting; }},
    {"starting", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) {
       s.postgres = PostgresState::stopped;
       s.postmaster_alive = false;
     }},
    {"files_not_in_force", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.files_in_force = false; }},
    {"restart_pending", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.restart_pending = true; }},
    {"restart_deferred", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.restart_pending = s.restart_deferred = true; }},
    {"slots_differ", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) {
       s.restart_pending = s.restart_deferred = s.slots_differ = true;
     }},
    {"starting", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) {
       s.postgres = PostgresState::starting;
       s.quick_deaths = kCrashLoopDeaths - 1;
       s.size_untried = true;
     }},
    {"data_not_synced", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) { s.data_unsynced = true; }},
    {"data_not_synced", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.data_unsynced = true; }},
    {"slots_differ", NodeRole::primary, running(NodeRole::primary),
     [](Manifest&, Seen& s) {
       s.slots_differ = true;
       s.sync_confirmed = false;
     }},
    {"slots_differ", NodeRole::standby, running(NodeRole::standby),
     [](Manifest&, Seen& s) { s.slots_differ = true; }},
    {"sync_set_not_confirmed", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen& s) {
       s.sync_confirmed = false;
       m.objects = ObjectsSpec{};
       s.objects_differ = true;
     }},
    {"objects_differ", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen& s) {
       m.objects = ObjectsSpec{};
       s.objects_differ = s.objects_check_due = true;
     }},
    {"objects_check_due", NodeRole::primary, running(NodeRole::primary),
     [](Manifest& m, Seen& s) {
       m.objects = ObjectsSpec{};
       s.objects_check_due = true;
     }},
    {"as_ordered", NodeRole::standby, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {
       m.objects = ObjectsSpec{};
       s.objects_differ = s.objects_check_due = true;
     }},
    {"promotion_under_way", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {
       m.promoted_term = m.role->term;
       m.role->timeline = 2;
       s.promoting = s.keeper_held = s.files_differ = s.slots_differ = true;
     }},
    {"promotion_under_way", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {  // its signal file has gone
       m.promoted_term = m.role->term;
       s.promoting = s.keeper_held = true;
       s.data = DataState::primary;
     }},
    {"promotion_withdrawn", NodeRole::fenced, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {
       m.promoted_term = 1;
       m.role->term = 2;
       s.promoting = true;
     }},
    {"promotion_withdrawn", NodeRole::primary, running(NodeRole::standby),
     [](Manifest& m, Seen& s) {
       m.promoted_term = 1;
       m.role->term = 2;
       s.promoting = true;
     }},
    {"as_ordered", NodeRole::primary, running(NodeRole::primary), nullptr},
    {"as_ordered", NodeRole::none, down(DataState::absent), nullptr},
};

TEST(ConvergeTable, EachSituationHasItsRow) {
  for (const Row& row : kRows) {
    Manifest m = manifest(row.role);
    Seen s = row.seen;
    if (row.change != nullptr) row.change(m, s);
    EXPECT_EQ(decide_step(m, s).rule, row.rule);
  }
}

TEST(ConvergeTable, EveryRowIsReached) {
  std::set<std::string> reached;
  for (const Row& row : kRows) reached.insert(row.rule);
  for (const auto& row : converge_table()) EXPECT_TRUE(reached.contains(row.rule)) << row.rule;
}

TEST(ConvergeTable, GoldenOrder) {
  std::string dump;
  for (const auto& row : converge_table()) {
    dump += std::string(row.rule) + " -> " + to_text(row.step) + " [" + to_text(row.kind) + "]\n";
  }
  EXPECT_EQ(dump,
            "remove_assigned -> removing [remove]\n"
            "quarantined_runs -> stopping what nobody knows [role]\n"
            "quarantined ->  [none]\n"
            "box_not_described ->  [none]\n"
            "data_gone_under_postmaster -> stopping postmaster without data [role]\n"
            "promotion_withdrawn -> withdrawing promotion [role]\n"
            "fenced_primary_parts -> waiting for clients to leave [role]\n"
            "fenced_primary_runs -> stopping the former primary [role]\n"
            "former_primary_runs -> stopping the former primary [role]\n"
            "keeper_lost -> adopting postmaster [role]\n"
            "image_missing -> refused [ensure]\n"
            "box_not_ready -> making directories and limits [ensure]\n"
            "disk_stopped_runs -> stopping postmaster for want of disk [ensure]\n"
            "disk_stopped -> refused [ensure]\n"
            "fenced_without_data -> refused [role]\n"
            "fenced_primary_stopped ->  [none]\n"
            "promotion_cut -> resuming promotion [role]\n"
            "promotion_not_fenced -> refused [role]\n"
            "standby_left_history -> rewinding [role]\n"
            "standby_of_another_history -> base backup (rebuild) [role]\n"
            "history_awaited -> starting postmaster [role]\n"
            "standby_was_primary -> becoming a standby [role]\n"
            "primary_first -> copying template [role]\n"
            "primary_data_lost -> refused [role]\n"
            "standby_first -> base backup [role]\n"
            "port_in_use -> refused [role]\n"
            "standby_cannot_follow -> base backup (rebuild) [role]\n"
            "standby_crash_loop -> base backup (rebuild) [role]\n"
            "promotion_under_way -> promoting [role]\n"
            "promotion_slots_differ -> applying replication slots [role]\n"
            "guard_not_in_force -> telling the keeper its voters [role]\n"
            "lease_overdue -> asking the voters [role]\n"
            "lease_awaited -> waiting for a lease [role]\n"
            "keeper_held -> releasing the keeper [role]\n"
            "files_differ -> writing configuration [role]\n"
            "stopped -> starting postmaster [role]\n"
            "primary_crash_loop -> refused [role]\n"
            "starting -> starting postmaster [role]\n"
            "files_not_in_force -> reloading configuration [role]\n"
            "promotion_sync_not_armed -> confirming sync set [role]\n"
            "promotion -> promoting [role]\n"
            "fenced_standby_receives -> ending the WAL receiver [role]\n"
            "fenced_standby_replays -> starting postmaster [role]\n"
            "fenced_standby ->  [none]\n"
            "restart_pending -> restarting postmaster [ensure]\n"
            "data_not_synced -> writing data to disk [role]\n"
            "slots_differ -> applying replication slots [role]\n"
            "sync_set_not_confirmed -> confirming sync set [role]\n"
            "objects_differ -> applying users and databases [objects]\n"
            "objects_check_due -> checking users and databases [objects]\n"
            "restart_deferred -> starting postmaster [ensure]\n"
            "as_ordered ->  [none]\n");
}

// Whatever is seen: data that was a standby's is opened only by a promotion in the term that it was
// fenced in, a primary's data is never replaced, and a fenced node neither starts a primary nor
// changes its data.
TEST(ConvergeTable, NothingSeenOpensAStandbyOrReplacesAPrimary) {
  for (unsigned bits = 0; bits < (1u << 14); ++bits) {
    Seen s;
    s.image_here = bits & 1;
    s.box_ready = bits & 2;
    s.keeper_alive = bits & 4;
    s.postmaster_alive = bits & 8;
    s.files_differ = bits & 16;
    s.files_in_force = bits & 32;
    s.restart_pending = bits & 64;
    s.slots_differ = bits & 128;
    s.quick_deaths = (bits & 256) ? kCrashLoopDeaths : 0;
    s.cannot_follow = (bits & 512) ? "diverged" : "";
    s.postgres = (bits & 1024) ? PostgresState::open : PostgresState::stopped;
    s.guard_differs = bits & 4096;
    s.lease_held = bits & 8192;
    Manifest m = manifest(NodeRole::primary);
    m.formed = bits & 2048;
    s.data = DataState::standby;
    const Step as_primary = decide_step(m, s).step;
    EXPECT_TRUE(as_primary == Step::adopt || as_primary == Step::refuse ||
                as_primary == Step::make_box)
        << bits;
    s.data = DataState::primary;
    const Step own = decide_step(m, s).step;
    EXPECT_FALSE(own == Step::create_from_template || own == Step::take_base_backup ||
                 own == Step::replace_by_base_backup || own == Step::rewind ||
                 own == Step::become_standby)
        << bits;
    if (s.keeper_alive && s.postmaster_alive && s.guard_differs) {
      EXPECT_FALSE(own == Step::reload || own == Step::write_files || own == Step::promote) << bits;
    }
    const Step held = decide_step(manifest(NodeRole::fenced), s).step;
    EXPECT_TRUE(held == Step::stop_primary || held == Step::refuse || held == Step::make_box ||
                held == Step::none)
        << bits;
  }
}

TEST(RetryDelay, DoublesUpToTenSeconds) {
  const int64_t want[] = {100, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
  for (uint32_t tries = 0; tries < 10; ++tries) EXPECT_EQ(retry_delay(tries).count(), want[tries]);
  EXPECT_EQ(retry_delay(1'000'000).count(), 10000);
}

}  // namespace
}  // namespace trunkline::agent
