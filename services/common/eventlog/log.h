// Writing and reading the event log through one connection of its own. Not thread-safe: one Log a
// thread. Any database error drops the connection (a reconnect behind the caller's back would hide
// lost session state); the next call opens a new one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "eventlog/recorded_event.h"

namespace trunkline::eventlog {

// The log cannot be reached or refused the statement; nothing is known to be appended. After a
// connection lost in commit, read the command's result again before deciding anew.
class LogUnavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// The log holds something that cannot be: a hole, a changed byte, a reorder.
class LogCorrupt : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CommandResult {
  std::string request_hash;  // SHA-256 of the command's body: the same id with another body differs
  std::string answer;        // serialized CommandAnswer
  // One JSON object: who asked, from where, what came of it. May be empty; is not read back.
  std::string audit = {};
};

struct Appended {
  int64_t last_position = 0;
  std::vector<RecordedEvent> events;
};
struct VersionConflict {
  int64_t actual_version = 0;
};
struct DuplicateCommand {
  CommandResult result;
};

class Log {
 public:
  explicit Log(std::string dsn);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  struct AppendRequest {
    std::string stream;
    int64_t expected_version = 0;  // version of the last event that the decision saw; 0: none
    Metadata metadata;
    std::vector<NewEvent> events;  // empty: only the result is recorded
    CommandResult result;          // `answer` may hold an Accepted whose position is filled in
                                   // later by whoever reads it: see command_result()
    bool record_result = true;
  };
  struct AppendOutcome {
    std::optional<Appended> appended;
    std::optional<VersionConflict> conflict;
    std::optional<DuplicateCommand> duplicate;
  };
  // One decision in one transaction, durable when it returns. Throws LogUnavailable.
  AppendOutcome append(const AppendRequest& request);

  // The recorded answer of a command, if it was decided before. Throws LogUnavailable.
  std::optional<CommandResult> command_result(const std::string& command_id);
  // Position and version of the newest event that the command appended, if any.
  struct CommandEvents {
    int64_t last_position = 0;
    int64_t last_version = 0;
  };
  std::optional<CommandEvents> command_events(const std::string& command_id);

  // Events of a stream after `after_version`, in order; checks contiguity and the hash chain from
  // `after_hash` (empty: unchecked start). Throws LogUnavailable, LogCorrupt.
  std::vector<RecordedEvent> read_stream(const std::string& stream, int64_t after_version,
                                         const std::string& after_hash = {});

 private:
  AppendOutcome append_unmeasured(const AppendRequest& request);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::eventlog
