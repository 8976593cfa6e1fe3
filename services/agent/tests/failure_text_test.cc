#include "agent/domain/failure_text.h"

#include <gtest/gtest.h>

#include <set>

namespace trunkline::agent {
namespace {

TEST(FailureText, IsShortAndOfFewObjects) {
  std::vector<ObjectFailure> failures;
  for (int i = 0; i < 1500; ++i) {
    ObjectFailure failure;
    failure.key.id = "id" + std::to_string(i);
    failure.code = "sql_55006";
    failure.message = std::string(4000, 'x') + "\u00e9";
    failures.push_back(failure);
  }
  const auto bounded = in_bounds(failures);
  ASSERT_EQ(bounded.size(), failures.size());
  size_t bytes = 0;
  for (size_t i = 0; i < bounded.size(); ++i) {
    EXPECT_EQ(bounded[i].key, failures[i].key);
    EXPECT_EQ(bounded[i].code, "sql_55006");
    bytes += bounded[i].message.size();
  }
  EXPECT_EQ(bounded.front().message.size(), kFailureBytes);
  EXPECT_EQ(bytes, kFailureBytes * kFailuresWithText);
}

TEST(Notes, AreFewAndEachPasswordHasItsTurn) {
  std::vector<ObjectNote> fresh;
  for (int i = 0; i < 30; ++i) {
    fresh.push_back({.key = {ObjectKind::user, "u" + std::to_string(i)},
                     .what = "password_changed", .detail = "", .seen_unix_us = 100});
    fresh.push_back({.key = {ObjectKind::user, "u" + std::to_string(i)}, .what = "drifted",
                     .detail = "", .seen_unix_us = 100});
  }
  std::vector<ObjectNote> notes;
  std::set<std::string> seen;
  for (uint64_t turn = 0; turn < 30; ++turn) {
    notes = notes_to_report(notes, fresh, 50, turn);
    ASSERT_EQ(notes.size(), 2 * kMostNotes);
    for (size_t i = 0; i < notes.size(); ++i) {
      EXPECT_EQ(notes[i].what, i < kMostNotes ? "password_changed" : "drifted");
      if (i < kMostNotes) seen.insert(notes[i].key.id);
    }
  }
  EXPECT_EQ(seen.size(), 30u);
  EXPECT_EQ(notes.back().key.id, "u29");
  // A drift stays for a while, a password only while it waits.
  notes = notes_to_report(notes, {}, 100, 1);
  EXPECT_EQ(notes.size(), kMostNotes);
  EXPECT_EQ(notes.front().what, "drifted");
  EXPECT_TRUE(notes_to_report(notes, {}, 101, 1).empty());
}

}  // namespace
}  // namespace trunkline::agent
