// The past of one instance: its document as of then, and its events as people read them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "lookup/domain/project.h"

namespace trunkline::lookup {

// An event with who and why, as far as history shows it.
struct HistoryEvent {
  LogEvent event;
  std::string_view actor;
  std::string_view command_id;
  std::string_view correlation_id;
};

// {position, time, type, stream, version, actor, command_id, correlation_id, payload}; the payload
// without password verifiers and token hashes, or with `error` instead where it cannot be read.
std::string history_json(const HistoryEvent& entry);

}  // namespace trunkline::lookup
