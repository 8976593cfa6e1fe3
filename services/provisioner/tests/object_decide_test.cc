#include <gtest/gtest.h>

#include "provisioner/domain/instance_rules.h"
#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

// An active instance with user alice and her database app.
Scene with_objects() {
  Scene scene;
  scene.after_active(1, 0).after(create_user(kAlice, "alice"));
  return scene.after(create_database(kApp, "app", kAlice));
}

TEST(CreateUser, NameRules) {
  const std::pair<std::string, const char*> rows[] = {
      {"bob", "accepted: user_created"},
      {"_bob", "accepted: user_created"},
      {"b0$b_", "accepted: user_created"},
      {"Alice", "accepted: user_created"},
      {"alice", "rejected: name_in_use (conflict)"},
      {"app", "accepted: user_created"},
      {"", "rejected: name_missing (bad_value)"},
      {std::string(63, 'b'), "accepted: user_created"},
      {std::string(64, 'b'), "rejected: name_too_long (bad_value)"},
      {"1bob", "rejected: name_malformed (bad_value)"},
      {"$bob", "rejected: name_malformed (bad_value)"},
      {"b-b", "rejected: name_malformed (bad_value)"},
      {"b\"b", "rejected: name_malformed (bad_value)"},
      {std::string("b\0b", 3), "rejected: name_malformed (bad_value)"},
      {"bób", "rejected: name_malformed (bad_value)"},
      {"pg_bob", "rejected: name_reserved (bad_value)"},
      {"pgbob", "accepted: user_created"},
      {"dbaas_bob", "rejected: name_reserved (bad_value)"},
      {"postgres", "rejected: name_reserved (bad_value)"},
      {"postgresql", "rejected: name_reserved (bad_value)"},
      {"public", "rejected: name_reserved (bad_value)"},
      {"none", "rejected: name_reserved (bad_value)"},
      {"trunkline_replicator", "rejected: name_reserved (bad_value)"},
      {"trunkline_x", "rejected: name_reserved (bad_value)"},
  };
  for (const auto& [name, expected] : rows) {
    SCOPED_TRACE(name);
    with_objects().when(create_user(kBob, name)).then(expected);
  }
}

TEST(CreateUser, OtherRules) {
  with_objects().when(create_user(kAlice, "bob")).then("rejected: uuid_in_use (conflict)");
  with_objects().when(create_user("b", "bob")).then("rejected: uuid_malformed (bad_value)");
  Command plain = create_user(kBob, "bob");
  plain.mutable_create_user()->set_scram_verifier("secret");
  with_objects().when(plain).then("rejected: verifier_malformed (bad_value)");
  Command no_password = create_user(kBob, "bob");
  no_password.mutable_create_user()->clear_scram_verifier();
  with_objects().when(no_password).then("rejected: verifier_malformed (bad_value)");
}

TEST(CreateUser, WhateverTheInstanceWaitsFor) {
  Scene().after_order(1, 0).when(create_user(kBob, "bob")).then("accepted: user_created");
  Scene().after_error().when(create_user(kBob, "bob")).then("accepted: user_created");
}

TEST(CreateUser, HasABoundPerInstance) {
  Scene scene = with_objects();
  for (size_t i = scene.state().users.size(); i < kMaxUsers; ++i) {
    const std::string name = "u" + std::to_string(i);
    scene.after(create_user(uuid_from_name(name), name));
  }
  scene.when(create_user(kBob, "bob")).then("rejected: too_many_users (conflict)");
  scene.then_message_has("at most 1000 users");
  // A change and a deletion are still possible, and make room.
  scene.after(delete_user(uuid_from_name("u1")));
  scene.when(create_user(kBob, "bob")).then("accepted: user_created");
}

// An instance of a time without bounds keeps what it has.
TEST(CreateUser, AnInstanceBeyondTheBoundGoesOn) {
  Scene scene = with_objects();
  std::vector<Event> before;
  for (size_t i = 0; i < 5200; ++i) {
    Event event;
    event.mutable_user_created()->set_user_id(uuid_from_name("old" + std::to_string(i)));
    event.mutable_user_created()->set_name("old" + std::to_string(i));
    before.push_back(std::move(event));
  }
  scene.given(before);
  scene.when(create_user(kBob, "bob")).then("rejected: too_many_users (conflict)");
  Command change;
  change.mutable_update_user()->set_user_id(uuid_from_name("old7"));
  change.mutable_update_user()->set_scram_verifier(verifier("another salt 16b"));
  scene.when(change).then("accepted: user_updated");
  scene.when(delete_user(uuid_from_name("old7"))).then("accepted: user_deleted");
}

TEST(CreateDatabase, HasABoundPerInstance) {
  Scene scene = with_objects();
  for (size_t i = scene.state().databases.size(); i < kMaxDatabases; ++i) {
    const std::string name = "d" + std::to_string(i);
    scene.after(create_database(uuid_from_name(name), name, kAlice));
  }
  scene.when(create_database(kShop, "shop", kAlice))
      .then("rejected: too_many_databases (conflict)");
  scene.then_message_has("at most 500 databases");
}

// What cannot be dropped does not pile up in every task.
TEST(DeleteDatabase, NotWhileThousandsWait) {
  Scene scene = with_objects();
  for (size_t i = 0; i < kMaxDropped; ++i) {
    const std::string name = "d" + std::to_string(i);
    scene.after(create_database(uuid_from_name(name), name, kAlice));
    scene.after(delete_database(uuid_from_name(name)));
  }
  scene.when(delete_database(kApp)).then("rejected: too_many_deletions (conflict)");
}

TEST(CreateDatabase, NameRules) {
  const std::pair<std::string, const char*> rows[] = {
      {"shop", "accepted: database_created"},
      {"_shop", "accepted: database_created"},
      {"App", "accepted: database_created"},
      {"app", "rejected: name_in_use (conflict)"},
      {"alice", "accepted: database_created"},
      {"", "rejected: name_missing (bad_value)"},
      {std::string(63, 's'), "accepted: database_created"},
      {std::string(64, 's'), "rejected: name_too_long (bad_value)"},
      {"s$", "rejected: name_malformed (bad_value)"},
      {"9s", "rejected: name_malformed (bad_value)"},
      {"postgres", "rejected: name_reserved (bad_value)"},
      {"postgres2", "accepted: database_created"},
      {"template0", "rejected: name_reserved (bad_value)"},
      {"template1", "rejected: name_reserved (bad_value)"},
      {"pg_shop", "accepted: database_created"},
      {"trunkline_shop", "rejected: name_reserved (bad_value)"},
  };
  for (const auto& [name, expected] : rows) {
    SCOPED_TRACE(name);
    with_objects().when(create_database(kShop, name, kAlice)).then(expected);
  }
}

TEST(CreateDatabase, OtherRules) {
  with_objects().when(create_database(kShop, "shop", kBob)).then(
      "rejected: owner_not_found (not_found)");
  with_objects().when(create_database(kShop, "shop", "")).then(
      "rejected: owner_not_found (not_found)");
  with_objects().when(create_database(kApp, "shop", kAlice)).then(
      "rejected: uuid_in_use (conflict)");
  with_objects().when(create_database("x", "shop", kAlice)).then(
      "rejected: uuid_malformed (bad_value)");
}

TEST(UpdateUser, EachFieldOneFactAwayFromNothing) {
  Command command;
  auto& c = *command.mutable_update_user();
  c.set_user_id(kAlice);
  with_objects().when(command).then("ignored");
  c.set_description("");
  with_objects().when(command).then("ignored");
  c.set_description("x");
  with_objects().when(command).then("accepted: user_updated");
  c.clear_description();
  c.set_scram_verifier(verifier());
  with_objects().when(command).then("ignored");
  c.set_scram_verifier(verifier("another salt 16b"));
  with_objects().when(command).then("accepted: user_updated");
  c.set_scram_verifier("secret");
  with_objects().when(command).then("rejected: verifier_malformed (bad_value)");
  c.set_user_id(kBob);
  with_objects().when(command).then("rejected: user_not_found (not_found)");
}

TEST(UpdateDatabase, EachFieldOneFactAwayFromNothing) {
  Command command;
  auto& c = *command.mutable_update_database();
  c.set_database_id(kApp);
  with_objects().when(command).then("ignored");
  c.set_name("app");
  with_objects().when(command).then("ignored");
  c.set_name("app2");
  with_objects().when(command).then("accepted: database_updated");
  c.set_name("template0");
  with_objects().when(command).then("rejected: name_reserved (bad_value)");
  c.set_name("shop");
  with_objects()
      .after(create_database(kShop, "shop", kAlice))
      .when(command)
      .then("rejected: name_in_use (conflict)");
  c.clear_name();
  c.set_owner_id(kAlice);
  with_objects().when(command).then("ignored");
  c.set_owner_id(kBob);
  with_objects().when(command).then("rejected: owner_not_found (not_found)");
  with_objects().after(create_user(kBob, "bob")).when(command).then("accepted: database_updated");
  c.set_database_id(kShop);
  with_objects().when(command).then("rejected: database_not_found (not_found)");
}

TEST(DeleteUser, NotWhileItOwnsADatabase) {
  with_objects().when(delete_user(kAlice)).then("rejected: user_owns_databases (conflict)");
  with_objects().when(delete_user(kAlice)).then_message_has("app");
  with_objects().after(delete_database(kApp)).when(delete_user(kAlice)).then(
      "accepted: user_deleted");
  with_objects().when(delete_user(kBob)).then("rejected: user_not_found (not_found)");
  with_objects().after(delete_database(kApp)).after(delete_user(kAlice)).when(
      delete_user(kAlice)).then("rejected: user_not_found (not_found)");
}

TEST(DeleteDatabase, FreesItsNameAndNotItsUuid) {
  Scene scene = with_objects();
  scene.after(delete_database(kApp));
  scene.when(delete_database(kApp)).then("rejected: database_not_found (not_found)");
  scene.when(create_database(kApp, "app", kAlice)).then("rejected: uuid_in_use (conflict)");
  scene.when(create_database(kShop, "app", kAlice)).then("accepted: database_created");
}

TEST(RecordObjectsApplied, ActivatesWhatItReached) {
  Scene scene = with_objects();
  const uint64_t both = scene.state().objects_version;
  scene.when(objects_applied(both + 1)).then("rejected: objects_version_unknown (bad_value)");
  scene.when(objects_applied(both)).then(
      "accepted: user_activated database_activated objects_applied");
  scene.when(objects_applied(both)).then("ignored");
  scene.when(objects_applied(both - 1)).then("ignored");
  scene.after(create_user(kBob, "bob"));
  scene.when(objects_applied(both)).then("ignored");
  EXPECT_EQ(scene.state().users.at(UserId(kBob)).status, ObjectStatus::created);
}

TEST(RecordObjectsApplied, AFailureIsOfOneObjectAndPasses) {
  Scene scene = with_objects();
  const uint64_t version = scene.state().objects_version;
  Command failed = objects_applied(version);
  add_failure(failed, kApp, "name_taken");
  scene.when(failed).then("accepted: user_activated database_failed");
  EXPECT_EQ(scene.state().databases.at(DatabaseId(kApp)).failure->code, "name_taken");
  EXPECT_LT(scene.state().applied_objects_version, version);
  scene.when(failed).then("ignored");
  scene.when(objects_applied(version)).then("accepted: database_activated objects_applied");
  EXPECT_FALSE(scene.state().databases.at(DatabaseId(kApp)).failure);
}

TEST(RecordObjectsApplied, ADroppedObjectIsForgottenOnlyWhenItIsGone) {
  Scene scene = with_objects();
  scene.after(objects_applied(scene.state().objects_version)).after(delete_database(kApp));
  const uint64_t version = scene.state().objects_version;
  ASSERT_EQ(scene.state().dropped_databases.size(), 1u);
  Command failed = objects_applied(version);
  add_failure(failed, kApp, "in_use");
  scene.when(failed).then("ignored");
  EXPECT_EQ(scene.state().dropped_databases.size(), 1u);
  scene.when(objects_applied(version)).then("accepted: objects_applied");
  EXPECT_TRUE(scene.state().dropped_databases.empty());
}

TEST(UpdateUser, OfAUserInErrorIsARetry) {
  Scene scene = with_objects();
  Command failed = objects_applied(scene.state().objects_version);
  add_failure(failed, kAlice, "timeout");
  scene.after(failed);
  Command again;
  again.mutable_update_user()->set_user_id(kAlice);
  const uint64_t before = scene.state().objects_version;
  scene.when(again).then("accepted: user_updated");
  EXPECT_GT(scene.state().objects_version, before);
}

TEST(UuidsOfAnInstance, NameOneThingWhateverItsKind) {
  with_objects().when(create_user(kApp, "bob")).then("rejected: uuid_in_use (conflict)");
  with_objects().when(create_database(kAlice, "shop", kAlice)).then(
      "rejected: uuid_in_use (conflict)");
  with_objects().after(delete_database(kApp)).when(create_user(kApp, "bob")).then(
      "rejected: uuid_in_use (conflict)");
}

// Of one id that both kinds have, as logs of before may hold it.
TEST(RecordObjectsApplied, AFailureIsOfItsKind) {
  Scene scene;
  scene.after_active(1, 0).after(create_user(kAlice, "alice"));
  v1::InstanceEvent same;
  same.mutable_database_created()->set_database_id(kAlice);
  same.mutable_database_created()->set_name("app");
  same.mutable_database_created()->set_owner_id(kAlice);
  scene.given({same});
  Command failed = objects_applied(scene.state().objects_version);
  add_failure(failed, kAlice, "sql_55P03");
  auto& failure = *failed.mutable_record_objects_applied()->mutable_failures(0);
  scene.when(failed).then("accepted: user_failed database_failed");
  failure.set_kind(v1::OBJECT_KIND_DATABASE);
  scene.when(failed).then("accepted: user_activated");
  failure.set_kind(v1::OBJECT_KIND_USER);
  scene.when(failed).then("accepted: user_failed database_activated");
}

TEST(UpdateUser, ANewPasswordIsNoSuccessBeforeItIsApplied) {
  Scene scene = with_objects();
  scene.after(objects_applied(scene.state().objects_version));
  Command command;
  command.mutable_update_user()->set_user_id(kAlice);
  command.mutable_update_user()->set_scram_verifier(verifier("another salt 16b"));
  scene.after(command);
  EXPECT_EQ(scene.state().users.at(UserId(kAlice)).status, ObjectStatus::created);
  scene.when(objects_applied(scene.state().objects_version))
      .then("accepted: user_activated objects_applied");
}

TEST(DroppedByTenant, StaysLikeThisUntilItsOwnerSaysWhatToDo) {
  Scene scene = with_objects();
  scene.after(objects_applied(scene.state().objects_version));
  Command lost = objects_applied(scene.state().objects_version);
  add_failure(lost, kApp, "dropped_by_tenant");
  lost.mutable_record_objects_applied()->mutable_failures(0)->set_kind(v1::OBJECT_KIND_DATABASE);
  scene.when(lost).then("accepted: database_failed");
  Command update;
  update.mutable_update_database()->set_database_id(kApp);
  update.mutable_update_database()->set_description("gone?");
  scene.when(update).then("accepted: database_updated");
  EXPECT_EQ(scene.state().databases.at(DatabaseId(kApp)).anew, 0u);
  update.mutable_update_database()->clear_description();
  scene.when(update).then("accepted: database_updated");
  EXPECT_EQ(scene.state().databases.at(DatabaseId(kApp)).anew, scene.state().objects_version);
  EXPECT_GT(scene.state().databases.at(DatabaseId(kApp)).anew, 0u);
  // It holds up nothing else.
  scene.after(create_user(kBob, "bob"));
  lost.mutable_record_objects_applied()->set_objects_version(scene.state().objects_version);
  scene.when(lost).then("accepted: user_activated objects_applied");
}

Command note(const std::string& what, v1::ObjectKind kind, const std::string& id, int64_t minute,
             uint64_t version) {
  Command command;
  auto& c = *command.mutable_record_object_note();
  c.set_objects_version(version);
  c.mutable_note()->set_what(what);
  c.mutable_note()->set_kind(kind);
  c.mutable_note()->set_object_id(id);
  c.mutable_note()->set_seen_unix_us(minute * 60'000'000);
  return command;
}

TEST(RecordObjectNote, APasswordOfSqlIsAdoptedUnlessANewerOneIsOrdered) {
  Scene scene = with_objects();
  const uint64_t version = scene.state().objects_version;
  Command changed = note("password_changed", v1::OBJECT_KIND_USER, kAlice, 1, version);
  auto& c = *changed.mutable_record_object_note();
  scene.when(changed).then("rejected: verifier_malformed (bad_value)");
  c.set_scram_verifier(verifier());
  scene.when(changed).then("ignored");
  c.set_scram_verifier(verifier("another salt 16b"));
  scene.when(changed).then("accepted: user_updated");
  c.mutable_note()->set_object_id(kBob);
  scene.when(changed).then("ignored");
  c.mutable_note()->set_object_id(kAlice);
  Command order;
  order.mutable_update_user()->set_user_id(kAlice);
  order.mutable_update_user()->set_scram_verifier(verifier("an older salt 16"));
  scene.after(order);
  c.set_scram_verifier(verifier("a third salt 16b"));
  scene.when(changed).then("ignored");
}

TEST(RecordObjectNote, DriftIsOneEventInAWhileAndTheRestOneEach) {
  Scene scene = with_objects();
  const uint64_t version = scene.state().objects_version;
  const auto drift = [&](int64_t minute) {
    return note("drifted", v1::OBJECT_KIND_DATABASE, kApp, minute, version);
  };
  scene.when(drift(100)).then("accepted: object_noted");
  scene.when(drift(100)).then("ignored");
  scene.when(drift(109)).then("ignored");
  scene.when(drift(111)).then("accepted: object_noted");
  scene.when(note("drifted", v1::OBJECT_KIND_USER, kApp, 200, version)).then("ignored");
  scene.when(note("drifted", v1::OBJECT_KIND_DATABASE, kApp, 200, version + 1))
      .then("rejected: objects_version_unknown (bad_value)");
  // Of a user that is gone, while its role may still be there.
  scene.after(delete_database(kApp)).after(delete_user(kAlice));
  const Command disarmed = note("disarmed", v1::OBJECT_KIND_USER, kAlice, 300, version);
  scene.when(disarmed).then("accepted: object_noted");
  scene.when(disarmed).then("ignored");
  scene.after(objects_applied(scene.state().objects_version));
  scene.when(note("disarmed", v1::OBJECT_KIND_USER, kAlice, 400, version)).then("ignored");
}

// Each user sets another password each second; the number of events that come of it.
size_t change_passwords(InstanceState& state, size_t users, seconds longest) {
  size_t out = 0;
  int salt = 0;
  for (TimePoint now = kStart; now < kStart + longest; now += seconds(1)) {
    for (size_t i = 0; i < users; ++i) {
      const std::string id = uuid_from_name("test/user/" + std::to_string(i));
      Command command = note("password_changed", v1::OBJECT_KIND_USER, id, 1, 0);
      auto& c = *command.mutable_record_object_note();
      c.set_objects_version(state.objects_version);
      c.set_scram_verifier(verifier(std::to_string(++salt)));
      const auto decision = decide(state, command, offered(), now);
      const auto* events = std::get_if<std::vector<Event>>(&decision);
      if (events == nullptr) continue;
      for (const Event& event : *events) evolve(state, event, now);
      EXPECT_EQ(state.users.at(UserId(id)).scram_verifier, c.scram_verifier()) << "the latest";
      out += events->size();
    }
  }
  return out;
}

InstanceState with_users(size_t count) {
  Scene scene;
  scene.after_active(1, 0);
  for (size_t i = 0; i < count; ++i) {
    scene.after(create_user(uuid_from_name("test/user/" + std::to_string(i)),
                            "user" + std::to_string(i)));
  }
  return scene.state();
}

// Of an instance that makes as many events as it may.
size_t at_most(seconds time) { return static_cast<size_t>(kSqlBurst + time / kSqlEvery - 1); }

TEST(RecordObjectNote, PasswordsThatChangeAllTheTimeAreAdoptedOnceInAWhile) {
  InstanceState one = with_users(1);
  EXPECT_EQ(change_passwords(one, 1, kAdoptRest * 10), 10u);
  InstanceState many = with_users(200);
  EXPECT_EQ(change_passwords(many, 200, kDriftRest), at_most(kDriftRest));
}

TEST(RecordObjectNote, OrdersOfTheApiAreNotSubjectToTheRest) {
  Scene scene = with_objects();
  Command changed =
      note("password_changed", v1::OBJECT_KIND_USER, kAlice, 1, scene.state().objects_version);
  auto& c = *changed.mutable_record_object_note();
  c.set_scram_verifier(verifier("by SQL 1"));
  scene.when(changed).then("accepted: user_updated");
  const TimePoint adopted = scene.state().users.at(UserId(kAlice)).adopted_at;
  EXPECT_GT(adopted, kStart);
  Command order;
  order.mutable_update_user()->set_user_id(kAlice);
  order.mutable_update_user()->set_scram_verifier(verifier("by the API 1"));
  scene.when(order).then("accepted: user_updated");
  order.mutable_update_user()->set_scram_verifier(verifier("by the API 2"));
  scene.when(order).then("accepted: user_updated");
  EXPECT_EQ(scene.state().users.at(UserId(kAlice)).adopted_at, adopted);
  c.set_objects_version(scene.state().objects_version);
  c.set_scram_verifier(verifier("by SQL 2"));
  scene.when(changed).then("ignored");
  c.mutable_note()->set_seen_unix_us(int64_t{1} << 60);
  scene.when(changed).then("ignored");
}

size_t accepted(InstanceState& state, const Command& command, TimePoint now) {
  const auto decision = decide(state, command, offered(), now);
  const auto* events = std::get_if<std::vector<Event>>(&decision);
  if (events == nullptr) return 0;
  for (const Event& event : *events) evolve(state, event, now);
  return events->size();
}

// Of 300 users, again and again.
size_t note_all(const char* what, seconds longest) {
  InstanceState state = with_users(300);
  size_t events = 0;
  for (TimePoint now = kStart; now < kStart + longest; now += seconds(10)) {
    for (size_t i = 0; i < 300; ++i) {
      const std::string id = uuid_from_name("test/user/" + std::to_string(i));
      Command command = note(what, v1::OBJECT_KIND_USER, id, 0, state.objects_version);
      command.mutable_record_object_note()->mutable_note()->set_seen_unix_us(to_unix_us(now));
      events += accepted(state, command, now);
    }
  }
  return events;
}

TEST(RecordObjectNote, WhatIsNotedOfAnInstanceHasABound) {
  EXPECT_EQ(note_all("drifted", kDriftRest), at_most(kDriftRest));
  EXPECT_EQ(note_all("disarmed", kDriftRest), at_most(kDriftRest));
}

TEST(RecordObjectsApplied, WhatFailsAndIsWellInTurnHasABound) {
  InstanceState state = with_users(50);
  const Command well = objects_applied(state.objects_version);
  Command failed = well;
  for (const auto& [id, user] : state.users) {
    add_failure(failed, id.str(), "no_connection");
  }
  EXPECT_EQ(accepted(state, failed, kStart), 50u) << "the outcome of an order is told at once";
  EXPECT_EQ(accepted(state, well, kStart), 51u);
  size_t events = 0;
  for (TimePoint now = kStart; now < kStart + seconds(600); now += seconds(1)) {
    events += accepted(state, failed, now) + accepted(state, well, now);
  }
  EXPECT_EQ(events, 2 * at_most(seconds(600)));
  Command order;
  order.mutable_update_user()->set_user_id(state.users.begin()->first.str());
  order.mutable_update_user()->set_scram_verifier(verifier("new"));
  const TimePoint then = kStart + seconds(600);
  ASSERT_EQ(accepted(state, order, then), 1u);
  Command newest = objects_applied(state.objects_version);
  add_failure(newest, state.users.begin()->first.str(), "no_connection");
  EXPECT_EQ(accepted(state, newest, then), 1u) << "and so it is of each";
}

TEST(RecordWrites, WritesThatStopAndGoOnAllTheTimeAreRecordedOnceInAWhile) {
  InstanceState state = with_users(0);
  size_t events = 0;
  for (TimePoint now = kStart; now < kStart + seconds(600); now += seconds(1)) {
    events += accepted(state, record_writes("disk_full"), now);
    EXPECT_FALSE(now == kStart && events == 0);
    events += accepted(state, record_writes(""), now);
    EXPECT_EQ(state.writes_stopped_why, "") << "their end is never held up";
  }
  EXPECT_EQ(events, 2 * at_most(seconds(600)));
}

}  // namespace
}  // namespace trunkline::provisioner::testing
