// The counters of all endpoints in memory that is backed by a file: what a process has added is
// there for the next one even if it was killed between two instructions. One process at a time; its
// threads may add to cells at will, all else is for one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "proxy/domain/startup.h"

namespace trunkline::proxy {

struct alignas(128) TrafficCell {
  char instance[37];
  bool read_only;
  std::atomic<uint32_t> used;  // set last
  std::atomic<uint64_t> bytes_in;
  std::atomic<uint64_t> bytes_out;
  std::atomic<uint64_t> connections_opened;
  std::atomic<uint64_t> connection_us;
};

class TrafficFile {
 public:
  static constexpr size_t kMostCells = 1 << 20;

  // Goes on with what `path` holds, or begins a new epoch: without a file, with one of another
  // layout, or when the machine went down without our closing it, since then its latest pages may
  // never have been written. An empty path, or one that cannot be had: memory of this process.
  explicit TrafficFile(const std::string& path = {});
  ~TrafficFile();
  TrafficFile(const TrafficFile&) = delete;
  TrafficFile& operator=(const TrafficFile&) = delete;

  std::string epoch() const;
  uint64_t next_sequence();
  size_t size() const { return size_; }
  TrafficCell& at(size_t index) { return cells()[index]; }
  // Null: there is no room.
  TrafficCell* add(const EndpointName& endpoint);

 private:
  struct Header;
  bool map(const std::string& path);
  void map_memory();
  bool goes_on() const;
  void begin_epoch();
  bool reserve(size_t cells);
  TrafficCell* cells() const;

  int fd_ = -1;
  void* memory_ = nullptr;
  Header* header_ = nullptr;
  size_t size_ = 0;
  size_t reserved_ = 0;
};

}  // namespace trunkline::proxy
