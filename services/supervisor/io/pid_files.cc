#include "supervisor/io/pid_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "supervisor/io/say.h"

namespace trunkline::supervisor {
namespace {

std::string pid_file(const std::string& dir, const std::string& name) {
  return dir + "/" + name + ".pid";
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id.empty() ? "-" : id;
}

// Field 22 of /proc/<pid>/stat; nothing if there is no such process or only its remains.
std::optional<std::string> start_time(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int number = 3; fields >> field; ++number) {
    if (number == 3 && field == "Z") return std::nullopt;
    if (number == 22) return field;
  }
  return std::nullopt;
}

struct Leftover {
  const ProcessSpec* spec;
  int pid;
};

void stop_level(const std::string& dir, std::vector<Leftover> leftovers) {
  using Clock = std::chrono::steady_clock;
  for (const auto& leftover : leftovers) {
    say("stopping left-over " + leftover.spec->name + ", pid " + std::to_string(leftover.pid));
    kill(leftover.pid, leftover.spec->stop_signal);
  }
  const auto began = Clock::now();
  while (!leftovers.empty()) {
    std::erase_if(leftovers, [&](const Leftover& leftover) {
      if (remembered_pid(dir, leftover.spec->name) != leftover.pid) return true;
      if (Clock::now() - began > leftover.spec->stop_deadline) kill(leftover.pid, SIGKILL);
      return false;
    });
    if (!leftovers.empty()) std::this_thread::sleep_for(Millis(20));
  }
}

}  // namespace

SupervisorLock::SupervisorLock(const std::string& dir) {
  const std::string path = dir + "/supervisor.lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) throw std::runtime_error("cannot open " + path + ": " + std::strerror(errno));
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    close(fd_);
    throw std::runtime_error("another supervisor holds " + path);
  }
  const std::string text = std::to_string(getpid()) + "\n";
  if (ftruncate(fd_, 0) != 0 || write(fd_, text.data(), text.size()) < 0) {
    close(fd_);
    throw std::runtime_error("cannot write " + path);
  }
}

SupervisorLock::~SupervisorLock() {
  close(fd_);
}

void write_file_atomically(const std::string& path, const std::string& text, int mode) {
  const std::string temporary = path + ".new";
  unlink(temporary.c_str());
  const int fd =
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) {
    throw std::runtime_error("cannot write " + temporary + ": " + std::strerror(errno));
  }
  bool written = fchmod(fd, static_cast<mode_t>(mode)) == 0;
  for (size_t done = 0; written && done < text.size();) {
    const ssize_t count = write(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    written = count > 0;
    if (written) done += static_cast<size_t>(count);
  }
  close(fd);
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) {
    throw std::runtime_error("cannot write " + path + ": " + std::strerror(errno));
  }
}

void remember_pid(const std::string& dir, const std::string& name, int pid) {
  const auto started = start_time(pid);
  if (!started) return;
  write_file_atomically(pid_file(dir, name),
                        std::to_string(pid) + " " + *started + " " + boot_id() + "\n", 0644);
}

std::optional<int> remembered_pid(const std::string& dir, const std::string& name) {
  std::ifstream file(pid_file(dir, name));
  int pid = 0;
  std::string started;
  std::string boot;
  if (!(file >> pid >> started >> boot) || pid <= 1) return std::nullopt;
  if (boot != boot_id() || start_time(pid) != started) return std::nullopt;
  return pid;
}

void stop_leftovers(const std::string& dir, const std::vector<ProcessSpec>& specs) {
  std::set<int, std::greater<>> levels;
  for (const auto& spec : specs) levels.insert(spec.level);
  for (const int level : levels) {
    std::vector<Leftover> leftovers;
    for (const auto& spec : specs) {
      if (spec.level != level) continue;
      if (const auto pid = remembered_pid(dir, spec.name)) leftovers.push_back({&spec, *pid});
    }
    stop_level(dir, leftovers);
  }
}

}  // namespace trunkline::supervisor
