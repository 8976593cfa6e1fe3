// Watches how much of the host's disk each node uses, in bytes and files, and acts in time: nothing
// that a session can write with is faster than the looks (domain/disk_rules.h says what is done).
//
// The cheap look is one statvfs of the nodes' file system, 5 to 100 times a second: the closer
// anything is to a mark, the sooner the next one, reckoned with the fastest writing there is. Only
// a node that may have reached a mark since (all that the file system has lost meanwhile could be
// its) is measured anew, by a walk through its directory; each is every ten seconds anyway.
//
// Walks go on in slices, in turn, and the host is looked at between any two of them: no node's
// files hold up the host's reserve or another node. One whose walk is not at its end is judged by
// what was known of it, or by what is counted so far where that is more.
//
// A thread of its own, which waits for no server: sessions are ended by helpers with a deadline.
// Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/domain/disk_rules.h"
#include "agent/io/agent_context.h"
#include "agent/io/node_walk.h"

namespace trunkline::agent {

FileSystem file_system_of(const std::string& path);  // all 0: it cannot be asked

struct DiskTarget {
  std::string node_id;
  NodePaths paths;
  NodeUser user;
  uint32_t port = 0;
  uint64_t order = 0;             // bytes; the files that come with it follow
  std::function<void()> changed;  // level or long_log; from the watch's thread, must not block
};

struct DiskSeen {
  bool known = false;  // it was measured
  NodeDisk state;
  DiskAmount used;
  DiskAmount order;
  uint64_t total = 0;     // bytes, with the agent's copies
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
  FileSystem file_system() const;  // as of the last look

 private:
  using Clock = std::chrono::steady_clock;
  struct Walk {
    NodeWalk files;
    DiskAmount lost_before;  // lost_ when it began
    Clock::time_point began;
    Clock::duration spent{};
  };
  struct Entry {
    DiskTarget target;
    DiskSeen seen;
    std::vector<pid_t> temporary;
    std::unique_ptr<Walk> walk;  // that is under way
    DiskAmount lost_before;      // lost_ when the last walk began that came to its end
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
  void judge_all();
  bool is_due(const Entry& entry, Clock::time_point now) const;
  void begin_walks(Clock::time_point now);
  bool walk(std::unique_lock<std::mutex>& lock);
  void walk_on(const std::string& id, std::unique_lock<std::mutex>& lock);
  void act(Clock::time_point now);
  std::chrono::milliseconds pause() const;
  DiskAmount may_have_grown(const Entry& entry) const;
  DiskAmount room_of(const Entry& entry) const;
  void measured(Entry& entry, const DiskUse& use, bool is_whole);
  bool judge(Entry& entry, const DiskAmount& used);
  void end_sessions(Entry& entry, EndSessions whom);
  void release_wal(Entry& entry, Clock::time_point now);

  const std::string root_;
  DiskAmount reserve_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  bool hurry_ = false;
  std::map<std::string, Entry> entries_;
  std::string turn_;  // the node whose slice was the last
  HostRooms host_;
  FileSystem fs_;
  DiskAmount lost_;  // by the file system, in all looks at which it had less than before
  std::thread thread_;
};

}  // namespace trunkline::agent
