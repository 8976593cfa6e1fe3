#include "agent/io/disk_watch.h"

#include <fts.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <string_view>

#include "agent/io/keeper_client.h"
#include "agent/io/pg_connection.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kFastestBytesPerMs = 2ull << 20;  // that anything is written with
constexpr milliseconds kSoonest{10};
constexpr milliseconds kLatest{200};
constexpr seconds kWalkEvery{10};
constexpr seconds kWalkNearFull{2};
constexpr int kWalkRest = 4;  // times as long as a walk took, before the next of that node
constexpr milliseconds kEndAgain{300};
constexpr milliseconds kEndDeadline{1500};
constexpr seconds kCheckpointEvery{30};
constexpr seconds kCheckpointDeadline{3};  // that it is waited for
constexpr uint64_t kLongLog = 32ull << 20;
constexpr size_t kMostTemporary = 500;

// The pid in "pgsql_tmp<pid>.<n>", a file or a directory of several; 0: the name is another.
pid_t temporary_of(std::string_view name) {
  constexpr std::string_view kPrefix = "pgsql_tmp";
  if (!name.starts_with(kPrefix)) return 0;
  return static_cast<pid_t>(std::strtol(name.data() + kPrefix.size(), nullptr, 10));
}

std::string condition(EndSessions whom) {
  switch (whom) {
    case EndSessions::none:
      return "false";
    case EndSessions::writers:
      return "backend_xid is not null or pid in (select coalesce(leader_pid, pid)"
             " from pg_stat_activity where pid = any($1::int[]))";
    case EndSessions::busy:
      return "state <> 'idle'";
    case EndSessions::all:
      return "true";
  }
  return "false";
}

// A session that waits for its standbys writes nothing, and must not be told that it has failed.
std::string ending_sql(EndSessions whom) {
  return "select count(pg_terminate_backend(pid)) from pg_stat_activity"
         " where backend_type = 'client backend' and pid <> pg_backend_pid()"
         " and usename <> 'postgres' and usename not like 'trunkline\\_%'"
         " and wait_event is distinct from 'SyncRep' and $1::int[] is not null and (" +
         condition(whom) + ")";
}

std::string array_of(const std::vector<pid_t>& pids) {
  std::string out = "{";
  for (const pid_t pid : pids) out += (out.size() > 1 ? "," : "") + std::to_string(pid);
  return out + "}";
}

bool is_under_way(const std::future<void>& work) {
  return work.valid() && work.wait_for(seconds(0)) != std::future_status::ready;
}

int64_t ms_of(std::chrono::steady_clock::time_point at) {
  return std::chrono::duration_cast<milliseconds>(at.time_since_epoch()).count();
}

}  // namespace

DiskUse measure_node(const NodePaths& paths) {
  DiskUse use;
  std::string root = paths.dir;
  char* const roots[] = {root.data(), nullptr};
  const std::unique_ptr<FTS, int (*)(FTS*)> tree(::fts_open(roots, FTS_PHYSICAL, nullptr),
                                                 ::fts_close);
  if (!tree) return use;
  const auto is_in = [](std::string_view path, std::string_view dir) {
    return path.starts_with(dir) && (path.size() == dir.size() || path[dir.size()] == '/');
  };
  std::set<pid_t> temporary;
  while (const FTSENT* entry = ::fts_read(tree.get())) {
    if (const pid_t pid = temporary_of(entry->fts_name); pid > 0) {
      if (temporary.size() < kMostTemporary) temporary.insert(pid);
    }
    if (entry->fts_info != FTS_F && entry->fts_info != FTS_D) continue;
    const uint64_t bytes = static_cast<uint64_t>(entry->fts_statp->st_blocks) * 512;
    use.total += bytes;
    const std::string_view path = entry->fts_path;
    const bool own = is_in(path, paths.incoming) || is_in(path, paths.old) ||
                     is_in(path, paths.forked);
    if (!own) use.used += bytes;
    if (path == paths.log) use.log = bytes;
  }
  use.temporary.assign(temporary.begin(), temporary.end());
  return use;
}

DiskWatch::DiskWatch(std::string root, uint64_t reserve)
    : root_(std::move(root)), reserve_(reserve), thread_([this] { run(); }) {}

DiskWatch::~DiskWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void DiskWatch::follow(const DiskTarget& target) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[target.node_id];
  entry.target = target;
  entry.walk_after = {};
  entry.walked_at = {};
  hurry_ = true;
  wake_.notify_all();
}

void DiskWatch::forget(const std::string& node_id) {
  std::future<void> ending, checkpoint;  // waited for when the lock is gone
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(node_id);
  if (found == entries_.end()) return;
  ending = std::move(found->second.ending);
  checkpoint = std::move(found->second.checkpoint);
  entries_.erase(found);
}

DiskSeen DiskWatch::seen(const std::string& node_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(node_id);
  return found == entries_.end() ? DiskSeen{} : found->second.seen;
}

HostRoom DiskWatch::host() const {
  const std::lock_guard lock(mutex_);
  return host_;
}

void DiskWatch::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    Clock::duration pause = kLatest;
    try {
      pause = look();
    } catch (const std::exception& e) {
      spdlog::error("disk watch: {}", e.what());
    }
    lock.lock();
    wake_.wait_for(lock, pause, [&] { return stopping_ || hurry_; });
    hurry_ = false;
  }
}

void DiskWatch::look_at_host() {
  struct statvfs fs {};
  if (::statvfs(root_.c_str(), &fs) != 0) return;
  const uint64_t free = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
  if (reserve_ == 0) reserve_ = default_reserve(static_cast<uint64_t>(fs.f_blocks) * fs.f_frsize);
  if (free_ && *free_ > free) lost_ += *free_ - free;
  free_ = free;
  const HostRoom room = host_room(host_, free, reserve_);
  if (room == host_) return;
  if (room > host_) {
    spdlog::error("disk: {} MB are left of the host's, {} MB are kept for the platform{}",
                  free >> 20, reserve_ >> 20,
                  room == HostRoom::critical ? "; its nodes are closed" : "");
  } else {
    spdlog::warn("disk: {} MB are free on the host again", free >> 20);
  }
  host_ = room;
  for (auto& [id, entry] : entries_) entry.walk_after = {};
}

bool DiskWatch::is_due(const Entry& entry, Clock::time_point now) const {
  if (now < entry.walk_after) return false;
  const bool near_full = entry.seen.state.level >= DiskLevel::near_full;
  if (!entry.seen.known || now - entry.walked_at >= (near_full ? kWalkNearFull : kWalkEvery)) {
    return true;
  }
  const DiskState& state = entry.seen.state;
  if ((host_ != HostRoom::enough) != state.host_low) return true;
  if (host_ == HostRoom::critical && state.level < DiskLevel::closed) return true;
  return may_have_grown(entry) > 0 &&
         may_have_grown(entry) >= room_before_mark(state, entry.seen.used, entry.target.order);
}

DiskWatch::Clock::duration DiskWatch::look() {
  std::unique_lock lock(mutex_);
  look_at_host();
  const auto began = Clock::now();
  std::vector<std::string> due;
  for (const auto& [id, entry] : entries_) {
    if (is_due(entry, began)) due.push_back(id);
  }
  for (const std::string& id : due) {
    auto found = entries_.find(id);
    if (found == entries_.end() || stopping_) continue;
    const DiskTarget target = found->second.target;
    const uint64_t lost = lost_;
    lock.unlock();
    const auto walk_began = Clock::now();
    DiskUse use;
    {
      const AsNodeUser rights(target.user);
      use = measure_node(target.paths);
    }
    const auto now = Clock::now();
    lock.lock();
    found = entries_.find(id);
    if (found == entries_.end()) continue;
    Entry& entry = found->second;
    entry.lost_before = lost;
    entry.walked_at = walk_began;
    entry.walk_after = now + (now - walk_began) * kWalkRest;
    judge(entry, use);
    look_at_host();  // a walk can be long
  }
  const auto now = Clock::now();
  uint64_t room = free_ ? room_before_host_mark(host_, *free_, reserve_) : 0;
  if (host_ == HostRoom::critical) room = UINT64_MAX;
  for (auto& [id, entry] : entries_) {
    const DiskState& state = entry.seen.state;
    if (state.level >= DiskLevel::closed && now >= entry.end_after) {
      end_sessions(entry, EndSessions::all);
    }
    if (state.level >= DiskLevel::near_full && now >= entry.checkpoint_after) {
      release_wal(entry, now);
    }
    const uint64_t left = room_before_mark(state, entry.seen.used, entry.target.order);
    const uint64_t grown = may_have_grown(entry);
    room = std::min(room, left > grown ? left - grown : 0);
  }
  const milliseconds soon(room / kFastestBytesPerMs);
  return std::clamp<Clock::duration>(soon, kSoonest, kLatest);
}

void DiskWatch::judge(Entry& entry, const DiskUse& use) {
  DiskSeen& seen = entry.seen;
  const DiskLevel before = seen.state.level;
  const bool long_log = use.log > kLongLog;
  const DiskVerdict verdict = judge_disk(
      seen.state, {use.used, entry.target.order, host_, ms_of(Clock::now())});
  const bool changed = !seen.known || verdict.state.level != before || (long_log && !seen.long_log);
  seen = {true, verdict.state, use.used, use.total, long_log};
  entry.temporary = use.temporary;
  if (verdict.state.level != before) {
    const bool worse = verdict.state.level > before && verdict.state.level >= DiskLevel::full;
    spdlog::log(worse ? spdlog::level::err : spdlog::level::warn,
                "node {}: disk {}: {} MB of {} MB are used{}", entry.target.node_id,
                to_text(verdict.state.level), use.used >> 20, entry.target.order >> 20,
                verdict.state.by_host ? ", and the host has no more room" : "");
  }
  if (verdict.state.level == DiskLevel::stopped && before != DiskLevel::stopped) {
    tell_keeper(entry.target.paths.control, "stop immediate");
  }
  if (verdict.end != EndSessions::none) end_sessions(entry, verdict.end);
  if (changed && entry.target.changed) entry.target.changed();
}

void DiskWatch::end_sessions(Entry& entry, EndSessions whom) {
  if (is_under_way(entry.ending) || entry.seen.state.level == DiskLevel::stopped) return;
  entry.end_after = Clock::now() + kEndAgain;
  entry.ending = std::async(
      std::launch::async,
      [whom, id = entry.target.node_id, socket_dir = entry.target.paths.socket_dir,
       user = entry.target.user.uid, port = entry.target.port,
       temporary = array_of(entry.temporary)] {
        try {
          PgConnection session(socket_dir, user, port, "postgres", kEndDeadline);
          const PgRows rows = session.exec(ending_sql(whom), {temporary}, kEndDeadline);
          const std::string count = rows.empty() ? "0" : rows[0][0].value_or("0");
          if (count != "0") spdlog::warn("node {}: disk: {} sessions ended", id, count);
        } catch (const std::exception& e) {
          spdlog::debug("node {}: disk: no sessions ended: {}", id, e.what());
        }
      });
}

// WAL counts, and is kept up to the next checkpoint, which else can be minutes away.
void DiskWatch::release_wal(Entry& entry, Clock::time_point now) {
  if (is_under_way(entry.checkpoint) || entry.seen.state.level == DiskLevel::stopped) return;
  entry.checkpoint_after = now + kCheckpointEvery;
  entry.checkpoint = std::async(
      std::launch::async, [socket_dir = entry.target.paths.socket_dir,
                           user = entry.target.user.uid, port = entry.target.port] {
        try {
          PgConnection session(socket_dir, user, port, "postgres", kEndDeadline);
          session.exec("checkpoint", {}, kCheckpointDeadline);
        } catch (const std::exception&) {
          return;  // it goes on without being waited for, or the next one does it
        }
      });
}

}  // namespace trunkline::agent
