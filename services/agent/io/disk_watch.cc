#include "agent/io/disk_watch.h"

#include <spdlog/spdlog.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <utility>

#include "agent/io/keeper_client.h"
#include "agent/io/pg_connection.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// That anything is written with.
constexpr uint64_t kFastestBytesPerMs = 2ull << 20;
constexpr uint64_t kFastestFilesPerMs = 200;
constexpr milliseconds kSoonest{10};
constexpr milliseconds kLatest{200};
constexpr seconds kWalkEvery{10};
constexpr seconds kWalkNearFull{2};
constexpr int kWalkRest = 4;  // times as long as a walk took, before the next of that node
constexpr milliseconds kSlice{5};
constexpr milliseconds kSlicesALook{40};
constexpr seconds kWalkRetry{1};
constexpr milliseconds kEndAgain{300};
constexpr milliseconds kEndDeadline{1500};
constexpr seconds kCheckpointEvery{30};
constexpr seconds kCheckpointForFiles{10};
constexpr seconds kCheckpointForFilesFull{2};
constexpr seconds kCheckpointDeadline{3};  // that it is waited for
constexpr uint64_t kLongLog = 32ull << 20;

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

uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

int64_t ms_of(std::chrono::steady_clock::time_point at) {
  return std::chrono::duration_cast<milliseconds>(at.time_since_epoch()).count();
}

}  // namespace

FileSystem file_system_of(const std::string& path) {
  struct statvfs fs {};
  if (::statvfs(path.c_str(), &fs) != 0) return {};
  return {{static_cast<uint64_t>(fs.f_blocks) * fs.f_frsize, fs.f_files},
          {static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize, fs.f_favail}};
}

DiskWatch::DiskWatch(std::string root, uint64_t reserve)
    : root_(std::move(root)), fs_(file_system_of(root_)) {
  reserve_ = default_reserve(fs_);
  if (reserve > 0) reserve_.bytes = reserve;
  thread_ = std::thread([this] { run(); });
}

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
  return host_.worse();
}

FileSystem DiskWatch::file_system() const {
  const std::lock_guard lock(mutex_);
  return fs_;
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
  FileSystem fs = file_system_of(root_);
  if (fs.total.bytes == 0) return;
  lost_.bytes += less(fs_.free.bytes, fs.free.bytes);
  lost_.files += less(fs_.free.files, fs.free.files);
  // Some make room for files of what is free: what comes with an order does not shrink with it.
  if (fs.total.files > 0) fs.total.files = std::max(fs.total.files, fs_.total.files);
  fs_ = fs;
  const HostRooms room = host_rooms(host_, fs, reserve_);
  if (room == host_) return;
  const bool worse = room.bytes > host_.bytes || room.files > host_.files;
  spdlog::log(worse ? spdlog::level::err : spdlog::level::warn,
              "disk: {} MB and {} files are left of the host's, {} MB and {} files are kept for "
              "the platform{}",
              fs.free.bytes >> 20, fs.free.files, reserve_.bytes >> 20, reserve_.files,
              room.worse() == HostRoom::critical ? "; its nodes are closed" : "");
  host_ = room;
  for (auto& [id, entry] : entries_) entry.walk_after = {};
  if (room.worse() >= HostRoom::scarce) judge_all();
}

// Without waiting for a walk; one that comes later is closed by its first.
void DiskWatch::judge_all() {
  for (auto& [id, entry] : entries_) judge(entry, entry.seen.used);
}

DiskAmount DiskWatch::may_have_grown(const Entry& entry) const {
  return {lost_.bytes - entry.lost_before.bytes, lost_.files - entry.lost_before.files};
}

// What it surely has before a mark; 0: it may have reached one.
DiskAmount DiskWatch::room_of(const Entry& entry) const {
  const DiskSeen& seen = entry.seen;
  const DiskAmount grown = may_have_grown(entry);
  const DiskAmount room = room_before_marks(seen.state, seen.used, seen.order);
  // What has not grown has reached nothing that it had not.
  return {grown.bytes == 0 ? std::max<uint64_t>(1, room.bytes) : less(room.bytes, grown.bytes),
          grown.files == 0 ? std::max<uint64_t>(1, room.files) : less(room.files, grown.files)};
}

bool DiskWatch::is_due(const Entry& entry, Clock::time_point now) const {
  if (entry.walk || now < entry.walk_after) return false;
  const NodeDisk& state = entry.seen.state;
  const bool near_full = state.level() >= DiskLevel::near_full;
  if (!entry.seen.known || now - entry.walked_at >= (near_full ? kWalkNearFull : kWalkEvery)) {
    return true;
  }
  if ((host_.bytes != HostRoom::enough) != state.bytes.host_low ||
      (host_.files != HostRoom::enough) != state.files.host_low) {
    return true;
  }
  const DiskAmount room = room_of(entry);
  return room.bytes == 0 || room.files == 0;
}

void DiskWatch::begin_walks(Clock::time_point now) {
  for (auto& [id, entry] : entries_) {
    if (!is_due(entry, now)) continue;
    entry.walk.reset(new Walk{NodeWalk(entry.target.paths), lost_, now});
  }
}

// Slices of all that are under way, in turn, for a while; true: none is left.
bool DiskWatch::walk(std::unique_lock<std::mutex>& lock) {
  const auto until = Clock::now() + kSlicesALook;
  while (!stopping_) {
    const auto is_walked = [](const auto& item) { return item.second.walk != nullptr; };
    auto next = std::find_if(entries_.upper_bound(turn_), entries_.end(), is_walked);
    if (next == entries_.end()) next = std::find_if(entries_.begin(), entries_.end(), is_walked);
    if (next == entries_.end()) return true;
    if (Clock::now() >= until) return false;
    turn_ = next->first;
    walk_on(turn_, lock);
    look_at_host();
  }
  return true;
}

void DiskWatch::walk_on(const std::string& id, std::unique_lock<std::mutex>& lock) {
  auto found = entries_.find(id);
  const NodeUser user = found->second.target.user;
  std::unique_ptr<Walk> walk = std::move(found->second.walk);
  lock.unlock();
  const auto began = Clock::now();
  bool is_whole = false;
  std::string failure;
  try {
    const AsNodeUser rights(user);
    is_whole = walk->files.go_on(began + kSlice);
  } catch (const std::system_error& e) {
    failure = e.what();
  }
  const auto now = Clock::now();
  walk->spent += now - began;
  lock.lock();
  found = entries_.find(id);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  if (!failure.empty()) {
    spdlog::error("node {}: it is not measured: {}", id, failure);
    entry.walk_after = now + kWalkRetry;
    return;
  }
  measured(entry, walk->files.counted(), is_whole);
  if (!is_whole) {
    entry.walk = std::move(walk);
    return;
  }
  entry.lost_before = walk->lost_before;
  entry.walked_at = walk->began;
  entry.walk_after = now + walk->spent * kWalkRest;
}

DiskWatch::Clock::duration DiskWatch::look() {
  std::unique_lock lock(mutex_);
  look_at_host();
  begin_walks(Clock::now());
  const bool all_walked = walk(lock);
  act(Clock::now());
  return all_walked ? pause() : Clock::duration::zero();
}

void DiskWatch::act(Clock::time_point now) {
  for (auto& [id, entry] : entries_) {
    const DiskLevel level = entry.seen.state.level();
    if (level >= DiskLevel::closed && now >= entry.end_after) {
      end_sessions(entry, EndSessions::all);
    }
    if (level >= DiskLevel::near_full && now >= entry.checkpoint_after) release_wal(entry, now);
  }
}

milliseconds DiskWatch::pause() const {
  DiskAmount room = room_before_host_marks(host_, fs_, reserve_);
  for (const auto& [id, entry] : entries_) {
    const DiskAmount left = room_of(entry);
    room = {std::min(room.bytes, left.bytes), std::min(room.files, left.files)};
  }
  const milliseconds soon(
      std::min(room.bytes / kFastestBytesPerMs, room.files / kFastestFilesPerMs));
  return std::clamp(soon, kSoonest, kLatest);
}

// Of a walk that is not at its end, only what is more than was known before says anything.
void DiskWatch::measured(Entry& entry, const DiskUse& use, bool is_whole) {
  DiskSeen& seen = entry.seen;
  const DiskAmount known = at_least(seen.used, use.used);
  if (!is_whole && known == seen.used) return;
  const bool long_log = use.log > kLongLog || (!is_whole && seen.long_log);
  const bool is_news = (is_whole && !seen.known) || (long_log && !seen.long_log);
  seen.long_log = long_log;
  seen.total = is_whole ? use.total : std::max(seen.total, use.total);
  if (is_whole || !use.temporary.empty()) entry.temporary = use.temporary;
  const bool is_told = judge(entry, is_whole ? use.used : known);
  seen.known = seen.known || is_whole;
  if (is_news && !is_told && entry.target.changed) entry.target.changed();
}

// True: the level is another now, which is told.
bool DiskWatch::judge(Entry& entry, const DiskAmount& used) {
  DiskSeen& seen = entry.seen;
  const DiskLevel before = seen.state.level();
  seen.used = used;
  seen.order = {entry.target.order, files_of_order(entry.target.order, fs_)};
  const NodeVerdict verdict =
      judge_node(seen.state, {used, seen.order, host_, ms_of(Clock::now()), !seen.known});
  seen.state = verdict.disk;
  const DiskLevel level = seen.state.level();
  if (level == DiskLevel::stopped && before != DiskLevel::stopped) {
    tell_keeper(entry.target.paths.control, "stop immediate");
  }
  if (verdict.end != EndSessions::none) end_sessions(entry, verdict.end);
  if (level == before) return false;
  const bool worse = level > before && level >= DiskLevel::full;
  spdlog::log(worse ? spdlog::level::err : spdlog::level::warn,
              "node {}: disk {}: {} MB of {} MB and {} files of {} are used{}",
              entry.target.node_id, to_text(level), used.bytes >> 20, seen.order.bytes >> 20,
              used.files, seen.order.files,
              seen.state.by_host() ? ", and the host has no more room" : "");
  if (entry.target.changed) entry.target.changed();
  return true;
}

void DiskWatch::end_sessions(Entry& entry, EndSessions whom) {
  if (is_under_way(entry.ending) || entry.seen.state.level() == DiskLevel::stopped) return;
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

// WAL counts, and so do files of tables that are gone; both are kept up to the next checkpoint,
// which else can be minutes away.
void DiskWatch::release_wal(Entry& entry, Clock::time_point now) {
  if (is_under_way(entry.checkpoint) || entry.seen.state.level() == DiskLevel::stopped) return;
  const DiskLevel files = entry.seen.state.files.level;
  entry.checkpoint_after = now + (files >= DiskLevel::full        ? kCheckpointForFilesFull
                                  : files >= DiskLevel::near_full ? kCheckpointForFiles
                                                                  : kCheckpointEvery);
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
