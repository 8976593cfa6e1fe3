// Watches how much of the host's disk each node uses, and acts in time: nothing that a session can
// write with is faster than the looks (domain/disk_rules.h says what is done).
//
// The cheap look is one statvfs of the nodes' file system, 5 to 100 times a second: the closer
// anything is to a mark, the sooner the next one, reckoned with the fastest writing there is. Only
// a node that may have reached a mark since (all that the file system has lost meanwhile could be
// its) is measured anew, by a walk through its directory; each is every ten seconds anyway.
//
// A thread of its own, which waits for no server: sessions are ended by helpers with a deadline.
// Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/domain/disk_rules.h"
#include "agent/io/agent_context.h"

namespace trunkline::agent {

// What a node's directory holds.
struct DiskUse {
  uint64_t total = 0;
  uint64_t used = 0;  // of it, what counts against the order: data and log, not the agent's copies
  uint64_t log = 0;   // of that, the log that is written now
  std::vector<pid_t> temporary;  // processes that have temporary files
};
// With the rights of the calling thread. What vanishes meanwhile does not count.
DiskUse measure_node(const NodePaths& paths);

struct DiskTarget {
  std::string node_id;
  NodePaths paths;
  NodeUser user;
  uint32_t port = 0;
  uint64_t order = 0;             // bytes
  std::function<void()> changed;  // level or long_log; from the watch's thread, must not block
};

struct DiskSeen {
  bool known = false;  // it was measured
  DiskState state;
  uint64_t used = 0;
  uint64_t total = 0;
  bool long_log = false;  // the log is to be emptied
};

class DiskWatch {
 public:
  // `root`: where the nodes' directories are. `reserve` 0: default_reserve().
  DiskWatch(std::string root, uint64_t reserve);
  ~DiskWatch();
  DiskWatch(const DiskWatch&) = delete;
  DiskWatch& operator=(const DiskWatch&) = delete;

  void follow(const DiskTarget& target);    // also one that has changed
  void forget(const std::string& node_id);  // `changed` is not called any more afterwards
  DiskSeen seen(const std::string& node_id) const;
  HostRoom host() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    DiskTarget target;
    DiskSeen seen;
    std::vector<pid_t> temporary;
    uint64_t lost_before = 0;  // lost_ when the last walk began
    Clock::time_point walked_at{};
    Clock::time_point walk_after{};
    Clock::time_point end_after{};
    Clock::time_point checkpoint_after{};
    std::future<void> ending;
    std::future<void> checkpoint;
  };
  void run();
  Clock::duration look();
  void look_at_host();
  bool is_due(const Entry& entry, Clock::time_point now) const;
  uint64_t may_have_grown(const Entry& entry) const { return lost_ - entry.lost_before; }
  void judge(Entry& entry, const DiskUse& use);
  void end_sessions(Entry& entry, EndSessions whom);
  void release_wal(Entry& entry, Clock::time_point now);

  const std::string root_;
  uint64_t reserve_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  bool hurry_ = false;
  std::map<std::string, Entry> entries_;
  HostRoom host_ = HostRoom::enough;
  std::optional<uint64_t> free_;
  uint64_t lost_ = 0;  // by the file system, in all looks at which it had less than before
  std::thread thread_;
};

}  // namespace trunkline::agent
