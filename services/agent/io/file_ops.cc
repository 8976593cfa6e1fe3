#include "agent/io/file_ops.h"

#include <fcntl.h>
#include <fts.h>
#include <linux/fs.h>
#include <pwd.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLittleUnwritten = 256 << 20;  // at a slow disk's 100 MB/s: some seconds

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

Fd open_or_fail(const std::string& path, int flags, mode_t mode = 0) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) fail(path);
  return fd;
}

void write_all(int fd, const char* data, size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path);
    data += n;
    size -= static_cast<size_t>(n);
  }
}

bool all_zero(const std::vector<char>& block, size_t size) {
  return std::all_of(block.begin(), block.begin() + static_cast<ptrdiff_t>(size),
                     [](char c) { return c == 0; });
}

// A fresh cluster's only WAL segment is 16 MiB of which the first few hundred KiB are used.
// `clones`: whether the file system shares blocks; false once it did not.
void copy_file(const std::string& from, const std::string& to, mode_t mode, bool wal,
               bool* clones) {
  const Fd in = open_or_fail(from, O_RDONLY | O_NOFOLLOW);
  const Fd out = open_or_fail(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  if (*clones && ::ioctl(out.get(), FICLONE, in.get()) == 0) return;
  *clones = false;
  thread_local std::vector<char> block(256 * 1024);
  struct stat st {};
  if (::fstat(in.get(), &st) != 0) fail(from);
  if (wal && st.st_size > 0 && ::fallocate(out.get(), 0, 0, st.st_size) != 0) wal = false;
  off_t at = 0;
  while (true) {
    const ssize_t n = ::pread(in.get(), block.data(), block.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(from);
    if (n == 0) break;
    if (!wal || !all_zero(block, static_cast<size_t>(n))) {
      if (::lseek(out.get(), at, SEEK_SET) < 0) fail(to);
      write_all(out.get(), block.data(), static_cast<size_t>(n), to);
    }
    at += n;
  }
}

struct FtsCloser {
  void operator()(FTS* tree) const { ::fts_close(tree); }
};
std::unique_ptr<FTS, FtsCloser> open_tree(const std::string& path) {
  char* roots[] = {const_cast<char*>(path.c_str()), nullptr};
  return std::unique_ptr<FTS, FtsCloser>(::fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, nullptr));
}

// What all of the machine has written and the disks do not have yet.
uint64_t unwritten_bytes() {
  const std::string text = read_file("/proc/meminfo").value_or("");
  uint64_t kb = 0;
  for (const char* field : {"Dirty:", "Writeback:"}) {
    const size_t at = text.find(field);
    if (at == std::string::npos) return UINT64_MAX;
    kb += std::strtoull(text.c_str() + at + std::strlen(field), nullptr, 10);
  }
  return kb * 1024;
}

}  // namespace

NodeUser find_node_user(const std::string& name) {
  NodeUser user;
  std::vector<char> buffer(16384);
  struct passwd entry {};
  struct passwd* found = nullptr;
  if (name.empty()) {
    ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found);
    user.uid = ::geteuid();
    user.gid = ::getegid();
    user.name = found != nullptr ? found->pw_name : std::to_string(user.uid);
    if (user.uid == 0) throw std::runtime_error("node_user must be set when the agent is root");
    return user;
  }
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    throw std::runtime_error("node_user: there is no user " + name);
  }
  user.uid = found->pw_uid;
  user.gid = found->pw_gid;
  user.name = name;
  if (user.uid == 0) throw std::runtime_error("node_user must not be root");
  if (user.uid == ::geteuid()) return user;
  if (::geteuid() != 0)
    throw std::runtime_error("node_user: only root can run nodes as another user");
  user.switched = true;
  return user;
}

AsNodeUser::AsNodeUser(const NodeUser& user) : switched_(user.switched) {
  if (!switched_) return;
  ::prctl(PR_GET_PDEATHSIG, &parent_death_signal_);
  old_gid_ = static_cast<gid_t>(::setfsgid(user.gid));
  old_uid_ = static_cast<uid_t>(::setfsuid(user.uid));
}

AsNodeUser::~AsNodeUser() {
  if (!switched_) return;
  ::setfsuid(old_uid_);
  ::setfsgid(old_gid_);
  // The kernel forgets it at every change of user; without it an agent outlives its supervisor.
  ::prctl(PR_SET_PDEATHSIG, parent_death_signal_);
}

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}
Fd::~Fd() {
  reset();
}
int Fd::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}
void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool exists(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0;
}

size_t file_bytes(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0 ? static_cast<size_t>(st.st_size) : 0;
}

bool exists_link(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

std::string read_at(const std::string& path, uint64_t offset, size_t bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::string out(bytes, '\0');
  if (!fd.valid()) return "";
  const ssize_t n = ::pread(fd.get(), out.data(), bytes, static_cast<off_t>(offset));
  out.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return out;
}

std::optional<std::string> read_file(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    fail(path);
  }
  std::string out;
  char block[4096];
  while (true) {
    const ssize_t n = ::read(fd.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path);
    if (n == 0) return out;
    out.append(block, static_cast<size_t>(n));
  }
}

std::string read_tail(const std::string& path, size_t bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat st {};
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return "";
  const auto size = static_cast<size_t>(st.st_size);
  std::string out(std::min(size, bytes), '\0');
  const ssize_t n =
      ::pread(fd.get(), out.data(), out.size(), static_cast<off_t>(size - out.size()));
  out.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return out;
}

void write_file_atomically(const std::string& path, const std::string& data, mode_t mode,
                           bool durable) {
  static std::atomic<unsigned> counter{0};
  const std::string temporary = path + ".new" + std::to_string(counter++);
  try {
    const Fd fd = open_or_fail(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
    write_all(fd.get(), data.data(), data.size(), temporary);
    if (durable && ::fsync(fd.get()) != 0) fail(temporary);
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  if (durable) fsync_path(fs::path(path).parent_path());
}

void make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    if (::chmod(path.c_str(), mode) != 0) fail(path);
    return;
  }
  if (errno != EEXIST) fail(path);
}

void spread_children(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int flags = 0;  // the kernel takes an int, whatever the request's name says
  if (!fd.valid() || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_TOPDIR_FL;
  ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
}

void rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(from + " -> " + to);
}

void remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error && exists(path)) throw std::system_error(error, path);
}

void fsync_path(const std::string& path) {
  const Fd fd = open_or_fail(path, O_RDONLY);
  if (::fsync(fd.get()) != 0 && errno != EINVAL) fail(path);
}

void fsync_tree(const std::string& path) {
  // The thousand files of a data directory are a thousand flushes of the disk; the file system as a
  // whole is one, but waits for what others have written, too.
  if (unwritten_bytes() < kLittleUnwritten) {
    const Fd fd = open_or_fail(path, O_RDONLY | O_DIRECTORY);
    if (::syncfs(fd.get()) != 0) fail(path);
    return;
  }
  // Start write-back of all files first, so that the fsyncs wait for little.
  for (const bool only_start : {true, false}) {
    const auto tree = open_tree(path);
    if (!tree) fail(path);
    while (const FTSENT* entry = ::fts_read(tree.get())) {
      if (entry->fts_info == FTS_D) continue;
      if (entry->fts_info != FTS_F && entry->fts_info != FTS_DP) continue;
      if (only_start && entry->fts_info == FTS_DP) continue;
      const Fd fd(::open(entry->fts_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (!fd.valid()) {
        if (errno == ENOENT) continue;
        fail(entry->fts_path);
      }
      if (only_start) {
        ::sync_file_range(fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
      } else if (::fsync(fd.get()) != 0 && errno != EINVAL) {
        fail(entry->fts_path);
      }
    }
  }
}

void copy_data_directory(const std::string& from, const std::string& to) {
  const auto tree = open_tree(from);
  if (!tree) fail(from);
  bool clones = true;
  while (const FTSENT* entry = ::fts_read(tree.get())) {
    const std::string relative = std::string(entry->fts_path).substr(from.size());
    const std::string target = to + relative;
    switch (entry->fts_info) {
      case FTS_D:
        make_directory(target, 0700);
        break;
      case FTS_F:
        copy_file(entry->fts_path, target, 0600, relative.starts_with("/pg_wal/"), &clones);
        break;
      case FTS_DP:
        break;
      case FTS_DNR:
      case FTS_ERR:
      case FTS_NS:
        errno = entry->fts_errno;
        fail(entry->fts_path);
      default:
        errno = EINVAL;
        fail(std::string(entry->fts_path) + " is neither file nor directory");
    }
  }
}

uint64_t tree_bytes(const std::string& path) {
  const auto tree = open_tree(path);
  uint64_t total = 0;
  if (!tree) return 0;
  while (const FTSENT* entry = ::fts_read(tree.get())) {
    if (entry->fts_info != FTS_F || entry->fts_statp == nullptr) continue;
    total += static_cast<uint64_t>(entry->fts_statp->st_blocks) * 512;
  }
  return total;
}

std::string boot_id() {
  std::string id = read_file("/proc/sys/kernel/random/boot_id").value_or("unknown");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace trunkline::agent
