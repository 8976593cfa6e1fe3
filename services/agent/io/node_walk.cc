#include "agent/io/node_walk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace trunkline::agent {
namespace {

constexpr int kEntriesAStep = 64;  // between two looks at the clock
constexpr size_t kMostTemporary = 500;
constexpr size_t kDeepest = 64;
// Of a tree that no server makes and that would use up all open files: it is taken for full.
constexpr uint64_t kEndless = 1ull << 60;

// The pid in "pgsql_tmp<pid>.<n>", a file or a directory of several; 0: the name is another.
pid_t temporary_of(std::string_view name) {
  constexpr std::string_view kPrefix = "pgsql_tmp";
  if (!name.starts_with(kPrefix)) return 0;
  return static_cast<pid_t>(std::strtol(name.data() + kPrefix.size(), nullptr, 10));
}

std::string name_in(const std::string& path) { return std::filesystem::path(path).filename(); }

}  // namespace

struct NodeWalk::Directory {
  std::unique_ptr<DIR, int (*)(DIR*)> entries;
  bool counts;  // against the order
};

NodeWalk::NodeWalk(const NodePaths& paths)
    : root_(paths.dir),
      log_(name_in(paths.log)),
      copies_{name_in(paths.incoming), name_in(paths.old), name_in(paths.forked)} {}

NodeWalk::~NodeWalk() = default;

void NodeWalk::enter(int parent, const char* name, bool counts) {
  const int fd =
      ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  DIR* entries = fd >= 0 ? ::fdopendir(fd) : nullptr;
  if (entries == nullptr) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    if (error == EMFILE || error == ENFILE || error == ENOMEM) {
      throw std::system_error(error, std::generic_category(), root_);
    }
    return;
  }
  open_.push_back({{entries, ::closedir}, counts});
}

void NodeWalk::count(Directory& in, const char* name) {
  if (const pid_t pid = temporary_of(name); pid > 0) {
    auto& pids = counted_.temporary;
    const auto at = std::lower_bound(pids.begin(), pids.end(), pid);
    const bool is_new = at == pids.end() || *at != pid;
    if (is_new && pids.size() < kMostTemporary) pids.insert(at, pid);
  }
  const int fd = ::dirfd(in.entries.get());
  struct stat info {};
  if (::fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return;
  const uint64_t bytes = static_cast<uint64_t>(info.st_blocks) * 512;
  const bool is_top = open_.size() == 1;
  const bool counts =
      in.counts && !(is_top && std::find(copies_.begin(), copies_.end(), name) != copies_.end());
  counted_.total += bytes;
  if (counts) {
    counted_.used.bytes += bytes;
    ++counted_.used.files;
  }
  if (is_top && name == log_) counted_.log = bytes;
  if (!S_ISDIR(info.st_mode)) return;
  if (open_.size() >= kDeepest) {
    counted_.used = {kEndless, kEndless};
    return;
  }
  enter(fd, name, counts);  // `in` is not valid any more
}

bool NodeWalk::go_on(Clock::time_point until) {
  if (!begun_) {
    begun_ = true;
    enter(AT_FDCWD, root_.c_str(), true);
  }
  while (!open_.empty()) {
    for (int step = 0; step < kEntriesAStep && !open_.empty(); ++step) {
      const dirent* entry = ::readdir(open_.back().entries.get());
      if (entry == nullptr) {
        open_.pop_back();
        continue;
      }
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") count(open_.back(), entry->d_name);
    }
    if (Clock::now() >= until) break;
  }
  return open_.empty();
}

DiskUse measure_node(const NodePaths& paths) {
  NodeWalk walk(paths);
  walk.go_on(NodeWalk::Clock::time_point::max());
  return walk.counted();
}

}  // namespace trunkline::agent
