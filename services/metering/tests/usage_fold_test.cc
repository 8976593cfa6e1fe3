#include <gtest/gtest.h>

#include "metering/domain/usage_snapshot.h"
#include "usage_given.h"

namespace trunkline::metering {
namespace {

using Given = UsageGiven;

TEST(WindowGrid, WindowsFollowOneAnotherWhenTheirLengthChanges) {
  WindowGrid grid;
  grid.set_length(kNever, 60'000);
  grid.set_length(kT0 + 120'000, 2'000);
  grid.set_length(kT0 + 126'000, 60'000);
  const struct {
    int64_t time, start, end;
  } rows[] = {
      {-90'000, -120'000, -60'000}, {0, 0, 60'000},           {119'999, 60'000, 120'000},
      {120'000, 120'000, 122'000},  {125'999, 124'000, 126'000}, {126'000, 126'000, 180'000},
      {180'000, 180'000, 240'000},
  };
  for (const auto& row : rows) {
    const Window window = grid.at(kT0 + row.time);
    EXPECT_EQ(window.start_ms - kT0, row.start) << row.time;
    EXPECT_EQ(window.end_ms - kT0, row.end) << row.time;
  }
  EXPECT_EQ(grid.at(-1), (Window{-60'000, 0}));
}

TEST(UsageFold, ANodeCountsFromItsCreationInTheSizeThatItHas) {
  Given given;
  given.created(-90'000);
  given.placed(-80'000);
  given.node_created(-30'000, 2);
  given.closed(0);
  EXPECT_EQ(given.amount(Meter::vcpu_seconds, -60'000), 2 * 30'000);
  EXPECT_EQ(given.amount(Meter::ram_gb_seconds, -60'000), 1024 * 30'000);
  EXPECT_EQ(given.amount(Meter::storage_gb_seconds, -60'000), 10 * 30'000);
  EXPECT_EQ(given.of_instance(Meter::seconds_new, -120'000), 10'000);
  EXPECT_EQ(given.of_instance(Meter::seconds_in_progress, -120'000), 20'000);
  EXPECT_EQ(given.of_instance(Meter::seconds_in_progress, -60'000), 60'000);
  EXPECT_EQ(given.records.size(), 3U);
}

TEST(UsageFold, AResizeIsPaidFromWhenTheHostHasMadeIt) {
  Given given;
  given.created(-60'000);
  given.placed(-60'000);
  given.node_created(-60'000, 2);
  given.resized(10'000, 8);
  const auto generation = static_cast<uint64_t>(given.version());
  given.resized(20'000, 16);
  given.node_created(30'000, generation);  // what was ordered at 10 s
  given.closed(60'000);
  EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0), 2 * 30'000 + 8 * 30'000);
}

TEST(UsageFold, AnInstanceIsInTheStateThatRestShows) {
  v1::InstanceEvent activated, failed, retried, scaled, removal, placed, renamed;
  activated.mutable_instance_activated();
  failed.mutable_instance_failed();
  retried.mutable_instance_retried();
  scaled.mutable_instance_scaled();
  renamed.mutable_instance_renamed()->set_name("x");
  removal.mutable_node_removal_started()->set_node_id(kNode);
  placed.mutable_node_placed()->set_node_id(kOther);
  using S = InstanceStatus;
  const struct {
    const v1::InstanceEvent* event;
    S from_new, from_progress, from_active, from_error;
  } rows[] = {
      {&activated, S::active, S::active, S::active, S::active},
      {&failed, S::error, S::error, S::error, S::error},
      {&retried, S::created, S::in_progress, S::in_progress, S::in_progress},
      {&scaled, S::created, S::in_progress, S::in_progress, S::in_progress},
      {&renamed, S::created, S::in_progress, S::active, S::error},
      {&placed, S::in_progress, S::in_progress, S::in_progress, S::error},
      {&removal, S::created, S::in_progress, S::in_progress, S::error},
  };
  for (const auto& row : rows) {
    for (const S from : {S::created, S::in_progress, S::active, S::error}) {
      Given given;
      given.created(0);
      if (from != S::created) given.placed(0);
      if (from == S::active) given.instance(0, activated);
      if (from == S::error) given.instance(0, failed);
      if (from == S::created && row.event == &removal) given.state.instance_of_node.clear();
      given.instance(1, *row.event);
      const S expected = from == S::created       ? row.from_new
                         : from == S::in_progress ? row.from_progress
                         : from == S::active      ? row.from_active
                                                  : row.from_error;
      EXPECT_EQ(given.state.instances.at(kInstanceId).status, expected)
          << row.event->ShortDebugString() << " from " << static_cast<int>(from);
    }
  }
}

TEST(UsageFold, ANodeEndsOnceAndDoesNotComeAgain) {
  v1::InstanceEvent started, removed, deletion;
  started.mutable_node_removal_started()->set_node_id(kNode);
  removed.mutable_node_removed()->set_node_id(kNode);
  deletion.mutable_instance_deletion_started();
  for (const auto* first : {&started, &removed, &deletion}) {
    Given given;
    given.created(0);
    given.placed(0);
    given.node_created(0, 2);
    given.instance(10'000, *first);
    given.instance(20'000, removed);
    given.node_created(30'000, 2);
    given.closed(60'000);
    EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0), 2 * 10'000) << first->ShortDebugString();
  }
}

TEST(UsageFold, WhatReplacesANodeIsBilledFromWhenThatOneGoes) {
  Given given;
  v1::UsageMeasured measured;
  *measured.add_nodes() = counted(7, 7, 100, "e1", kOther);
  v1::InstanceEvent leaves;
  leaves.mutable_node_removal_started()->set_node_id(kNode);
  given.created(0);
  given.placed(1'000);
  given.node_created(10'000, 1);
  given.placed(20'000, kOther, "host-b", true);
  given.node_created(25'000, 1, kOther);
  given.measured(30'000, measured, "host:host-b");
  given.instance(40'000, leaves);
  *measured.mutable_nodes(0) = counted(9, 2, 100, "e1", kOther);
  given.measured(50'000, measured, "host:host-b");
  given.closed(kMinuteMs);
  EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0), 2 * 30'000);
  EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0, kOther), 2 * 20'000);
  EXPECT_EQ(given.amount(Meter::transactions, 0, kOther), 2) << "not what the move itself did";
}

TEST(UsageFold, AReplacementThatIsNotNeededIsNeverBilledOneThatIsOrderedIs) {
  for (const bool ordered : {false, true}) {
    Given given;
    v1::InstanceEvent then;
    if (ordered) {
      then.mutable_instance_scaled()->set_nodes_number(2);
    } else {
      then.mutable_node_removal_started()->set_node_id(kOther);
    }
    given.created(0);
    given.placed(1'000);
    given.node_created(10'000, 1);
    given.placed(20'000, kOther, "host-b", true);
    given.node_created(25'000, 1, kOther);
    given.instance(40'000, then);
    given.closed(kMinuteMs);
    EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0), 2 * 50'000);
    EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0, kOther), ordered ? 2 * 20'000 : 0);
  }
}

TEST(UsageFold, WhatComesLateForAClosedWindowCorrectsIt) {
  Given given;
  given.created(0);
  given.placed(0);
  given.node_created(0, 2);
  given.closed(60'000);
  EXPECT_FALSE(given.record(0)->is_correction);
  const std::string original = given.record(0)->id;
  v1::InstanceEvent deletion;
  deletion.mutable_instance_deletion_started();
  given.instance(50'000, deletion);
  given.closed(120'000);
  ASSERT_EQ(given.records.size(), 2U);
  EXPECT_TRUE(given.record(0)->is_correction);
  EXPECT_NE(given.record(0)->id, original);
  EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0), -2 * 10'000);
  EXPECT_EQ(given.of_instance(Meter::seconds_in_progress, 0), -10'000);
}

TEST(UsageFold, TheTimeOfAStreamNeverGoesBack) {
  Given given;
  given.created(0);
  given.placed(30'000);
  given.node_created(10'000, 2);
  given.closed(60'000);
  EXPECT_EQ(given.amount(Meter::vcpu_seconds, 0), 2 * 30'000);
}

TEST(UsageFold, ADifferenceIsSpreadOverTheWindowsOfItsInterval) {
  Given given;
  given.created(0);
  given.placed(0);
  given.node_created(10'000, 2);
  v1::UsageMeasured first;
  *first.add_nodes() = counted(100, 100);
  given.measured(70'000, first);
  given.closed(60'000);
  EXPECT_EQ(given.amount(Meter::transactions, 0), 83);  // 100 * 50 s / 60 s, rounded down
  given.closed(120'000);
  EXPECT_EQ(given.amount(Meter::transactions, 60'000), 17);
}

TEST(UsageFold, WhoWasSilentIsCorrectedWhenItIsHeardAgain) {
  Given given;
  given.created(0);
  given.placed(0);
  given.node_created(0, 2);
  v1::UsageMeasured first;
  *first.add_nodes() = counted(10, 10, 100);
  given.measured(60'000, first);
  given.closed(60'000);
  v1::UsageMeasured silent;
  silent.add_silent(kNode);
  given.measured(120'000, silent);
  given.closed(120'000);
  EXPECT_EQ(given.amount(Meter::storage_used_gb_seconds, 60'000), 0);
  v1::UsageMeasured again;
  *again.add_nodes() = counted(30, 20, 50);
  given.measured(180'000, again);
  given.closed(180'000);
  EXPECT_TRUE(given.record(60'000)->is_correction);
  EXPECT_EQ(given.amount(Meter::transactions, 60'000), 10);
  EXPECT_EQ(given.amount(Meter::transactions, 120'000), 10);
  EXPECT_EQ(given.amount(Meter::storage_used_gb_seconds, 60'000), 50 * kMinuteMs);
}

TEST(UsageFold, WhoIsHeardAndNotNamedHasNotChanged) {
  Given given;
  given.created(0);
  given.placed(0);
  given.node_created(0, 2);
  v1::UsageMeasured first;
  *first.add_nodes() = counted(10, 10, 100);
  given.measured(60'000, first);
  given.measured(120'000, {});
  v1::UsageMeasured third;
  *third.add_nodes() = counted(70, 60, 100);
  given.measured(180'000, third);
  given.closed(180'000);
  EXPECT_EQ(given.amount(Meter::transactions, 60'000), 0);
  EXPECT_EQ(given.amount(Meter::transactions, 120'000), 60);
  EXPECT_EQ(given.amount(Meter::storage_used_gb_seconds, 60'000), 100 * kMinuteMs);
}

TEST(UsageFold, WhatANotLastPartDoesNotNameWaits) {
  Given given;
  given.created(0);
  given.placed(0);
  given.placed(0, kOther);
  given.node_created(0, 2);
  given.node_created(0, 3, kOther);
  v1::UsageMeasured first, second;
  *first.add_nodes() = counted(60, 60);
  *second.add_nodes() = counted(30, 30, 0, "e1", kOther);
  first.set_partial(true);
  given.measured(120'000, first);
  given.measured(120'000, second);
  given.closed(120'000);
  EXPECT_EQ(given.amount(Meter::transactions, 0), 30);
  EXPECT_EQ(given.amount(Meter::transactions, 0, kOther), 15);
  EXPECT_EQ(given.amount(Meter::transactions, 60'000, kOther), 15);
}

TEST(UsageFold, ManyWindowsAreClosedAtOnceAndTheirLengthMayChange) {
  Given given;
  given.created(0);
  given.closed(180'000);
  EXPECT_EQ(given.records.size(), 3U);
  given.closed(186'000, 2'000);
  EXPECT_EQ(given.records.size(), 3U);
  EXPECT_EQ(given.of_instance(Meter::seconds_new, 184'000), 2'000);
  given.closed(240'000);
  EXPECT_EQ(given.of_instance(Meter::seconds_new, 186'000), 54'000);
  given.closed(240'000);
  EXPECT_TRUE(given.records.empty());
}

TEST(UsageFold, WhatEndedLongAgoIsForgotten) {
  Given given;
  given.created(0);
  given.placed(0);
  given.node_created(0, 2);
  v1::UsageMeasured measured;
  *measured.add_nodes() = counted(10, 10);
  given.measured(30'000, measured);
  v1::InstanceEvent deletion;
  deletion.mutable_instance_deletion_started();
  given.instance(30'000, deletion);
  given.closed(60'000);
  EXPECT_EQ(given.state.instances.size(), 1U);
  given.closed(60'000 + kForgetAfterMs);
  EXPECT_TRUE(given.state.instances.empty());
  EXPECT_TRUE(given.state.instance_of_node.empty());
  EXPECT_TRUE(given.state.sources.begin()->second.items.empty());
}

TEST(UsageFold, WhatCannotBeChangesNothing) {
  Given given;
  given.node_created(0, 1);
  v1::UsageMeasured measured;
  *measured.add_nodes() = counted(10, 10);
  measured.add_endpoints()->set_instance_id(kInstanceId);
  measured.add_gone(kOther);
  given.measured(0, measured);
  given.closed(60'000);
  EXPECT_TRUE(given.records.empty());
  UsageChange change;
  EXPECT_TRUE(evolve(given.state, {100, "instance-" + kInstanceId, 2, 1, "\xff", {}}, change));
  EXPECT_TRUE(evolve(given.state, {101, "usage-" + kNode, 1, 9, "", {}}, change));
  EXPECT_FALSE(evolve(given.state, {102, "group-" + kNode, 1, 9, "\xff", {}}, change));
  EXPECT_FALSE(evolve(given.state, {102, "instance-" + kNode, 1, 1, "\xff", {}}, change));
}

TEST(UsageFold, ASnapshotHoldsAll) {
  Given given;
  given.created(0);
  given.placed(0);
  given.node_created(0, 2);
  v1::UsageMeasured measured;
  *measured.add_nodes() = counted(100, 100, 7);
  given.measured(90'000, measured);
  given.closed(60'000);
  given.closed(62'000, 2'000);
  v1::UsageSnapshot snapshot;
  save(given.state, &snapshot);
  const auto loaded = load(snapshot);
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(*loaded == given.state);
  snapshot.mutable_instances(0)->mutable_account()->add_rate(1);
  EXPECT_FALSE(load(snapshot));
}

TEST(WindowClose, IsDueWhenAWindowAndItsGraceAreOver) {
  const WindowRules rules{60'000, 5'000};
  Given given;
  given.created(10'000);
  EXPECT_EQ(decide_close(given.state, rules, kT0 + 64'999)->window_end_unix_ms(), kT0);
  EXPECT_EQ(decide_close(given.state, rules, kT0 + 65'000)->window_end_unix_ms(), kT0 + 60'000);
  given.closed(60'000);
  EXPECT_FALSE(decide_close(given.state, rules, kT0 + 124'999));
  EXPECT_EQ(decide_close(given.state, rules, kT0 + 485'000)->window_end_unix_ms(), kT0 + 480'000);
  EXPECT_FALSE(decide_close(given.state, rules, kT0)) << "the log's clock went back";
}

// Where nothing runs, one close a month says that what was billed is complete.
TEST(WindowClose, OfAnIdlePlatformIsOncePerMonth) {
  const WindowRules rules{60'000, 5'000};
  constexpr int64_t kMonth = 31 * int64_t{86'400'000};
  Given given;
  const auto first = decide_close(given.state, rules, kT0 + 65'000);
  ASSERT_TRUE(first) << "nothing was ever closed";
  EXPECT_EQ(first->window_end_unix_ms(), kT0 + 60'000);
  given.closed(60'000);
  EXPECT_FALSE(decide_close(given.state, rules, kT0 + 3'600'000));
  const auto next = decide_close(given.state, rules, kT0 + kMonth);
  ASSERT_TRUE(next);
  EXPECT_GT(next->window_end_unix_ms(), kT0 + kMonth - 65'001);
  EXPECT_TRUE(decide_close(given.state, rules, kT0 + 2 * kMonth));
}

}  // namespace
}  // namespace trunkline::metering
