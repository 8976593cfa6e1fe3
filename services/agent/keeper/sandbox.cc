#include "agent/keeper/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace trunkline::agent {
namespace {

bool write_text(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool fine = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return fine;
}

// One that stays itself.
std::string map_of(unsigned id) {
  return std::to_string(id) + " " + std::to_string(id) + " 1\n";
}

bool is_within(const std::string& path, const std::string& directory) {
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

bool make_directories(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      struct stat info {};
      if (::stat(part.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return false;
    }
    if (at == std::string::npos) return true;
  }
}

std::string namespace_of(const char* process, const char* kind) {
  char name[64];
  const std::string path = std::string("/proc/") + process + "/ns/" + kind;
  const ssize_t size = ::readlink(path.c_str(), name, sizeof name);
  return size > 0 ? std::string(name, static_cast<size_t>(size)) : "";
}

}  // namespace

bool enter_sandbox(std::vector<std::string> hidden, const std::vector<std::string>& kept) {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !write_text("/proc/self/setgroups", "deny") ||
      !write_text("/proc/self/uid_map", map_of(uid)) ||
      !write_text("/proc/self/gid_map", map_of(gid)) ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return false;
  }
  std::vector<int> directories;
  for (const auto& path : kept) {
    directories.push_back(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (directories.back() < 0) return false;
  }
  std::sort(hidden.begin(), hidden.end());
  std::string outer;
  for (const auto& path : hidden) {
    if (!outer.empty() && is_within(path, outer)) continue;
    outer = path;
    if (::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=256k") != 0) {
      return false;
    }
  }
  for (size_t i = 0; i < kept.size(); ++i) {
    const std::string from = "/proc/self/fd/" + std::to_string(directories[i]);
    if (!make_directories(kept[i]) ||
        ::mount(from.c_str(), kept[i].c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
      return false;
    }
    ::close(directories[i]);
  }
  return true;
}

bool join_sandbox(pid_t pid) {
  const std::string process = std::to_string(pid);
  const std::string user = namespace_of(process.c_str(), "user");
  if (user.empty()) return false;
  if (user == namespace_of("self", "user")) return true;
  for (const char* kind : {"user", "mnt"}) {
    const int fd = ::open(("/proc/" + process + "/ns/" + kind).c_str(), O_RDONLY | O_CLOEXEC);
    const bool fine = fd >= 0 && ::setns(fd, 0) == 0;
    if (fd >= 0) ::close(fd);
    if (!fine) return false;
  }
  return true;
}

}  // namespace trunkline::agent
