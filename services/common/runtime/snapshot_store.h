// A service's snapshot: a cache of its folded state in table cache.snapshot. Losing it, or meeting
// one of another format, only makes the start longer. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace trunkline::runtime {

struct Snapshot {
  int64_t position = 0;  // every event up to here is in it (and perhaps later ones)
  std::string data;
};

class SnapshotStore {
 public:
  SnapshotStore(std::string dsn, std::string service, int format)
      : dsn_(std::move(dsn)), service_(std::move(service)), format_(format) {}
  // Nothing if there is none of this format. Throws std::exception if the database is away.
  std::optional<Snapshot> load();
  void save(const Snapshot& snapshot);

 private:
  std::string dsn_;
  std::string service_;
  int format_;
};

}  // namespace trunkline::runtime
