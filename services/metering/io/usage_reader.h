// Questions to the projection of usage (README.md has its tables). One connection; not thread-safe:
// one UsageReader a thread. Any error drops the connection.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <pqxx/pqxx>
#include <stdexcept>
#include <string>
#include <vector>

#include "metering/domain/rating.h"
#include "metering/domain/usage_line.h"

namespace trunkline::metering {

// PostgreSQL is away, or the tables are just being replaced: ask again.
class UsageUnavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// It would take too long.
class UsageTooMuch : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct UsageCheckpoint {
  int64_t position = 0;
  int64_t closed_position = 0;  // of the newest close
  int64_t closed_until_ms = 0;
  int64_t records_from_ms = 0;  // records that were closed before are not all there
};

enum class UsageWindow { minute, hour, day, month };

struct UsageQuestion {
  std::string project_id;  // empty: any
  std::string instance_id;
  std::string node_id;
  std::vector<Meter> meters;
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  UsageWindow window = UsageWindow::hour;
  bool by_project = false;
  bool by_instance = false;
  bool by_node = false;
  bool by_state = false;
  size_t limit = 1000;
  std::string marker;  // of the page before
};
struct UsageRow {
  int64_t window_start_ms = 0;
  int64_t window_end_ms = 0;
  std::string project_id;
  std::string instance_id;
  std::string node_id;
  Meter meter = Meter::seconds_new;
  Int128 quantity = 0;
};
struct UsagePage {
  std::vector<UsageRow> rows;
  std::string next_marker;
  bool bad_marker = false;
};

class UsageReader {
 public:
  explicit UsageReader(std::string dsn);

  UsagePage rows(const UsageQuestion& question);

  // What the project used in each segment, at a position of the log (0: of the checkpoint).
  // `next_close_ms`: when the first close after that position was recorded, if there is one.
  struct Sums {
    UsageCheckpoint checkpoint;
    bool known = true;  // false: the records after the position are not all kept any more
    std::vector<UsedQuantity> used;
  };
  Sums sums(const std::string& project_id, const std::vector<Segment>& segments,
            int64_t at_position, std::optional<int64_t> next_close_ms);

  std::map<std::string, std::string> names(const std::string& project_id);
  // The project of an instance, or of the instance of a node.
  std::optional<std::string> project_of(const std::string& instance_id);
  std::optional<std::string> instance_of(const std::string& node_id);
  std::vector<std::string> hosts_of(const UsageLine& line);
  // Position of the newest record of the line's windows; 0: none is kept.
  int64_t last_position_of(const UsageLine& line);
  UsageCheckpoint checkpoint();

 private:
  template <class Work>
  auto ask(Work work);

  const std::string dsn_;
  std::unique_ptr<pqxx::connection> connection_;
};

}  // namespace trunkline::metering
