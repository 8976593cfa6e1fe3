#include "agent/keeper/proc_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "agent/keeper/lease_cell.h"

namespace trunkline::agent {
namespace {

std::string read_small(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0) return "";
  char buffer[4096];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  ::close(fd);
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : "";
}

std::string read_link(const std::string& path) {
  char buffer[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), buffer, sizeof buffer);
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : "";
}

// A directory that was removed shows as "<path> (deleted)".
bool is_postgres_in(pid_t pid, const std::string& directory) {
  const std::string base = "/proc/" + std::to_string(pid);
  const std::string cwd = read_link(base + "/cwd");
  if (cwd != directory && cwd != directory + " (deleted)") return false;
  const std::string comm = read_small(base + "/comm");
  return comm.starts_with("postgres") && process_start_ticks(pid) != 0;
}

std::string line_of(const std::string& text, int number) {
  size_t from = 0;
  for (int i = 1; i < number; ++i) {
    from = text.find('\n', from);
    if (from == std::string::npos) return "";
    ++from;
  }
  return text.substr(from, text.find('\n', from) - from);
}

}  // namespace

uint64_t process_start_ticks(pid_t pid) {
  const std::string stat = read_small("/proc/" + std::to_string(pid) + "/stat");
  const size_t close = stat.rfind(')');
  if (close == std::string::npos || close + 2 >= stat.size()) return 0;
  const char state = stat[close + 2];
  if (state == 'Z' || state == 'X') return 0;
  // Field 22; the state is field 3.
  size_t at = close + 2;
  for (int field = 3; field < 22; ++field) {
    at = stat.find(' ', at);
    if (at == std::string::npos) return 0;
    ++at;
  }
  return std::strtoull(stat.c_str() + at, nullptr, 10);
}

std::vector<pid_t> postgres_processes_in(const std::string& data_directory) {
  std::vector<pid_t> out;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return out;
  while (const dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (is_postgres_in(pid, data_directory)) out.push_back(pid);
  }
  ::closedir(proc);
  return out;
}

pid_t running_postmaster(const std::string& data_directory) {
  const std::string text = read_small(data_directory + "/postmaster.pid");
  const auto pid = static_cast<pid_t>(std::strtol(text.c_str(), nullptr, 10));
  if (pid <= 1 || !is_postgres_in(pid, data_directory)) return 0;
  return pid;
}

bool await_end(const std::vector<pid_t>& pids, int64_t longest_ms) {
  const int64_t deadline = boot_ms() + longest_ms;
  bool ended = true;
  for (const pid_t pid : pids) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) continue;  // it is not there any more
    pollfd end{fd, POLLIN, 0};
    int ready = 0;
    do {
      const int64_t left = std::max<int64_t>(deadline - boot_ms(), 0);
      ready = ::poll(&end, 1, static_cast<int>(left));
    } while (ready < 0 && errno == EINTR);
    ended = ended && ready > 0;
    ::close(fd);
  }
  return ended;
}

std::vector<pid_t> children_of(pid_t pid) {
  const std::string id = std::to_string(pid);
  const std::string path = "/proc/" + id + "/task/" + id + "/children";
  std::vector<pid_t> out;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return out;
  std::string text;
  char buffer[4096];
  ssize_t n;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(n));
  ::close(fd);
  char* at = text.data();
  while (const long child = std::strtol(at, &at, 10)) out.push_back(static_cast<pid_t>(child));
  return out;
}

std::string postmaster_socket(const std::string& data_directory) {
  const std::string text = read_small(data_directory + "/postmaster.pid");
  const std::string port = line_of(text, 4);
  const std::string directory = line_of(text, 5);
  if (port.empty() || directory.empty()) return "";
  return directory + "/.s.PGSQL." + port;
}

std::string postmaster_status(const std::string& data_directory) {
  std::string status = line_of(read_small(data_directory + "/postmaster.pid"), 8);
  while (!status.empty() && status.back() == ' ') status.pop_back();
  return status;
}

}  // namespace trunkline::agent
