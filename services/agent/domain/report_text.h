// The texts of what an agent sends. Tenants have a say in many of them, and a report that cannot be
// sent or read makes its whole host look dead: so none is longer than its bound, and each is UTF-8,
// whoever wrote it. Pure.
#pragma once

#include <google/protobuf/message.h>

#include <cstddef>

#include "trunkline/v1/report.pb.h"

namespace trunkline::agent {

inline constexpr size_t kTextBytes = 256;           // of most fields
inline constexpr size_t kFailureTextBytes = 600;    // of what a failure says
inline constexpr size_t kStatementTextBytes = 4000;

// Of this text of a report or of statistics.
size_t most_bytes(const google::protobuf::FieldDescriptor& text);

// Cuts all texts of the message and of what is in it to their bounds, between two characters, and
// replaces what is no UTF-8.
void bound_texts(google::protobuf::Message* message);

// What a report can do without: notes, and what failures say beside their codes.
void leave_out_words(v1::HostReport* report);

}  // namespace trunkline::agent
