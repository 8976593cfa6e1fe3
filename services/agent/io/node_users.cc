#include "agent/io/node_users.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kReserve = 64;
constexpr mode_t kOwnOnly = 0700;
constexpr mode_t kForClients = 02710;  // what is made in it gets its group

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

gid_t find_group(const std::string& name) {
  std::vector<char> buffer(16384);
  struct group entry {};
  struct group* found = nullptr;
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    throw std::runtime_error("client_group: there is no group " + name);
  }
  return found->gr_gid;
}

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Directory = std::unique_ptr<DIR, DirCloser>;

// Calls `visit(parent, name, what it is)` for all below and then for `name` itself. No name is
// resolved but in its own directory, and links are not followed: whoever exchanges one meanwhile
// leads nobody elsewhere.
using Visit = std::function<void(int entry, const struct stat&)>;
void walk(int parent, const char* name, const std::string& path, const Visit& visit) {
  const Fd entry(::openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!entry.valid() || ::fstat(entry.get(), &info) != 0) {
    if (errno == ENOENT) return;
    fail(path);
  }
  if (S_ISDIR(info.st_mode)) {
    Fd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) fail(path);
    const int number = fd.get();
    const Directory directory(::fdopendir(number));
    if (!directory) fail(path);
    fd.release();
    while (const dirent* child = ::readdir(directory.get())) {
      const std::string own = child->d_name;
      if (own != "." && own != "..") walk(number, own.c_str(), path + "/" + own, visit);
    }
  }
  visit(entry.get(), info);
}

void walk(const std::string& path, const Visit& visit) {
  const fs::path parent = fs::path(path).parent_path();
  const Fd fd(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) fail(parent);
  walk(fd.get(), fs::path(path).filename().c_str(), path, visit);
}

}  // namespace

NodeUsers::NodeUsers(NodeUsersOptions options)
    : options_(std::move(options)), shared_(find_node_user(options_.shared_user)) {
  if (!isolates()) return;
  if (::geteuid() != 0) {
    throw std::runtime_error("node_uids: only root can run each node as a user of its own");
  }
  if (!exists(options_.library)) {
    throw std::runtime_error("node_uids: " + options_.library + " is missing");
  }
  if (!options_.client_group.empty()) client_gid_ = find_group(options_.client_group);
  next_ = std::strtoull(read_file(options_.counter_file).value_or("0").c_str(), nullptr, 10);
  reserved_ = next_;
}

void NodeUsers::start() {
  const std::lock_guard lock(mutex_);
  if (isolates() && next_ >= reserved_) reserve();
}

std::string NodeUsers::note(bool sandboxed) const {
  if (isolates()) return "";
  const std::string shared = "nodes share the user " + shared_.name + ": ";
  if (::geteuid() == 0) return shared + "no node_uids in the configuration";
  return shared + "the agent is not root; " +
         (sandboxed ? "each sees its own files only, by a user namespace"
                    : "the machine gives no user namespaces to hide files from them");
}

bool NodeUsers::in_range(uid_t uid) const {
  return isolates() && uid >= options_.range.first &&
         uid - options_.range.first < options_.range.count;
}

NodeUser NodeUsers::numbered(uid_t uid) const {
  NodeUser user;
  user.uid = uid;
  user.gid = uid;
  user.name = "trunkline-node-" + std::to_string(uid);
  user.switched = true;
  user.own = true;
  user.library = options_.library;
  return user;
}

NodeUser NodeUsers::owner_of(const std::string& node_dir) const {
  struct stat info {};
  if (!isolates() || ::lstat(node_dir.c_str(), &info) != 0 || !in_range(info.st_uid)) {
    return shared_;
  }
  return numbered(info.st_uid);
}

bool NodeUsers::has_node(uid_t uid) const {
  std::error_code error;
  for (fs::directory_iterator it(options_.nodes_dir, error), end; !error && it != end;
       it.increment(error)) {
    struct stat info {};
    if (::lstat(it->path().c_str(), &info) == 0 && info.st_uid == uid) return true;
  }
  return false;
}

void NodeUsers::reserve() {
  reserved_ += kReserve;
  write_file_atomically(options_.counter_file, std::to_string(reserved_) + "\n", 0600, true);
}

NodeUser NodeUsers::allot() {
  if (!isolates()) return shared_;
  const std::lock_guard lock(mutex_);
  for (uint32_t tries = 0; tries < options_.range.count; ++tries) {
    if (next_ >= reserved_) reserve();
    const uint64_t number = next_++;
    const auto uid = static_cast<uid_t>(options_.range.first + number % options_.range.count);
    if (number < options_.range.count || !has_node(uid)) return numbered(uid);
  }
  throw std::runtime_error("node_uids: every user of the range has a node");
}

void NodeUsers::make_home(const std::string& path, const NodeUser& user, bool for_clients) const {
  if (!isolates()) {
    const AsNodeUser rights(user);
    make_directory(path, kOwnOnly);
    return;
  }
  const bool opened = for_clients && user.own && !options_.client_group.empty();
  const gid_t gid = opened ? client_gid_ : user.gid;
  const mode_t mode = opened ? kForClients : kOwnOnly;
  if (::mkdir(path.c_str(), kOwnOnly) != 0 && errno != EEXIST) fail(path);
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) fail(path);
  const bool fits =
      info.st_uid == user.uid && info.st_gid == gid && (info.st_mode & 07777) == mode;
  if (!fits && (::fchown(fd.get(), user.uid, gid) != 0 || ::fchmod(fd.get(), mode) != 0)) {
    fail(path);
  }
}

void NodeUsers::remove_home(const std::string& path) const {
  if (!exists(path)) return;
  {
    const AsNodeUser rights(owner_of(path));
    std::error_code error;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      remove_tree(it->path());
    }
    if (!isolates()) remove_tree(path);
  }
  if (isolates() && ::rmdir(path.c_str()) != 0 && errno != ENOENT) fail(path);
}

void NodeUsers::give_tree(const std::string& path, const NodeUser& user) {
  std::map<ino_t, nlink_t> names_left;
  walk(path, [&](int, const struct stat& info) {
    if (S_ISDIR(info.st_mode) || info.st_nlink < 2) return;
    --names_left.try_emplace(info.st_ino, info.st_nlink).first->second;
  });
  for (const auto& [inode, left] : names_left) {
    if (left > 0) throw std::runtime_error(path + " has a file that is also elsewhere");
  }
  walk(path, [&](int entry, const struct stat& info) {
    if (info.st_uid == user.uid && info.st_gid == user.gid) return;
    if (::fchownat(entry, "", user.uid, user.gid, AT_EMPTY_PATH) != 0) fail(path);
  });
}

void NodeUsers::end_processes(const NodeUser& user) const {
  if (!user.own) return;
  const pid_t pid = ::fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    // Nothing but raw system calls: the process had threads.
    if (::syscall(SYS_setresuid, user.uid, user.uid, user.uid) == 0) ::kill(-1, SIGKILL);
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace trunkline::agent
