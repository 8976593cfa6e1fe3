#include "bus/pieces.h"

#include <gtest/gtest.h>

#include "trunkline/v1/route.pb.h"

namespace trunkline::bus {
namespace {

Message piece_of(std::string_view data) {
  Message message;
  message.subject = "tl.route.x";
  message.data = piece_data(data);
  return message;
}

TEST(Pieces, OfSeveralSendersComeTogether) {
  PieceStore store;
  EXPECT_FALSE(store.add(piece_name("a", 0, 2), piece_of("one ")));
  EXPECT_FALSE(store.add(piece_name("b", 0, 2), piece_of("three ")));
  const auto first = store.add(piece_name("a", 1, 2), piece_of("two"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->data, "one two");
  EXPECT_EQ(first->subject, "tl.route.x");
  const auto second = store.add(piece_name("b", 1, 2), piece_of("four"));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->data, "three four");
  EXPECT_EQ(store.bytes(), 0u);
}

TEST(Pieces, WhatLostOneIsDropped) {
  PieceStore store;
  EXPECT_FALSE(store.add(piece_name("a", 0, 3), piece_of("x")));
  EXPECT_FALSE(store.add(piece_name("a", 2, 3), piece_of("z")));
  EXPECT_FALSE(store.add(piece_name("a", 1, 3), piece_of("y")));
  EXPECT_EQ(store.bytes(), 0u);
}

TEST(Pieces, NamesThatAreNoneAreIgnored) {
  PieceStore store;
  for (const char* name : {"", " ", "a", "a 0", "a 0 x", "a -1 2", "a 2 2", "a 0 0", "a 0 33"}) {
    EXPECT_FALSE(store.add(name, piece_of("x"))) << name;
  }
  EXPECT_EQ(store.bytes(), 0u);
}

TEST(Pieces, NobodyFillsTheMemoryWithBeginnings) {
  PieceStore store;
  const std::string much(1'000'000, 'x');
  for (int i = 0; i < 1000; ++i) {
    store.add(piece_name("sender-" + std::to_string(i), 0, 32), piece_of(much));
    ASSERT_LE(store.bytes(), 128u * 1024 * 1024);
  }
}

// A receiver of a release that knows no pieces takes none of them for a message.
TEST(Pieces, AreNoProtobuf) {
  v1::Route route;
  route.set_instance_id("x");
  v1::Route read;
  EXPECT_FALSE(read.ParseFromString(piece_data(route.SerializeAsString())));
}

}  // namespace
}  // namespace trunkline::bus
