// How long sessions may stand in the way of a server's replay, promotion or stop before they are
// ended by SIGKILL. What runs inside a library (xpath() on a large document) hears nothing else:
// neither cancel nor SIGTERM nor a timeout. PostgreSQL then starts all of its server anew. Pure.
#pragma once

#include <chrono>

namespace trunkline::agent {

using std::chrono::milliseconds;

// Of replay, which by itself cancels who is in its way after max_standby_streaming_delay (30 s; at
// once where somebody waits for it).
inline constexpr milliseconds kReplayPatience{60'000};
inline constexpr milliseconds kUrgentReplayPatience{1000};
// Of a stop that is to be clean, from SIGTERM on.
inline constexpr milliseconds kSessionPatience{1000};
// And then for the server to be there again, with its standbys; after this it is stopped as it is.
// A switchover is given up before that, and the server goes on.
inline constexpr milliseconds kPartingAtMost{20'000};
// A standby that has yet to catch up, or answers no more, is not waited for in a stop.
inline constexpr milliseconds kLaggardPatience{1000};
inline constexpr milliseconds kSenderPatience{3500};

// `is_urgent`: the node is to be promoted, or to say what it has.
inline bool must_end_sessions(milliseconds replay_blocked_for, bool is_urgent) {
  return replay_blocked_for >= (is_urgent ? kUrgentReplayPatience : kReplayPatience);
}

}  // namespace trunkline::agent
