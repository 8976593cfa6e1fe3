// What the `log` commands ask of the log's database (role tl_reader), beside eventlog's readers.
// One connection; not thread-safe. Every method throws Failure(unavailable) if it is away.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"

namespace trunkline::cli {

struct LogMoment {  // the log as of some position or time
  int64_t position = 0;  // of the last event then; 0: none
  int64_t events = 0;
  int64_t streams = 0;
};

struct TypeCount {
  std::string aggregate;
  std::string type;
  int64_t events = 0;
  int64_t payload_bytes = 0;
};

struct LogStats {
  int64_t events = 0;
  int64_t streams = 0;
  int64_t last_position = 0;
  std::optional<TimePoint> first_at;
  std::optional<TimePoint> last_at;
  int64_t table_bytes = 0;  // with indexes
  int64_t commands = 0;     // recorded answers
  double per_second_1m = 0;
  double per_second_1h = 0;
  std::vector<TypeCount> types;  // most events first
};

// A command whose recorded answer says that events were appended which are not there.
struct LostEvents {
  std::string command_id;
  std::string what;
};

class LogSource {
 public:
  explicit LogSource(const std::string& dsn);
  ~LogSource();
  LogSource(const LogSource&) = delete;
  LogSource& operator=(const LogSource&) = delete;

  int64_t last_position();
  // Position before the `count` newest events of the streams that start with `stream_prefix` and of
  // `type` (either may be empty).
  int64_t position_before_newest(int64_t count, const std::string& stream_prefix,
                                 const std::string& type);
  // `text` itself if it is a stream, or every stream of that UUID.
  std::vector<std::string> streams_named(const std::string& text);
  LogMoment at_position(int64_t position);
  LogMoment at_time(TimePoint time);
  LogStats stats();
  // The chain of hashes cannot show that a stream's newest events were taken away; the recorded
  // answers of commands can.
  std::vector<LostEvents> lost_events();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::cli
