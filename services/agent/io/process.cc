#include "agent/io/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "runtime/child_program.h"

namespace trunkline::agent {
namespace {

constexpr size_t kKeptOutput = 4096;

Fd input_file(const std::string& input) {
  if (input.empty()) return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd fd(::memfd_create("input", MFD_CLOEXEC));
  if (::write(fd.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size())) {
    throw std::system_error(errno, std::generic_category(), "memfd");
  }
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& argv, const NodeUser& user, bool drop,
                           const std::string& input) {
  std::vector<char*> arguments;
  for (const auto& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  char path[] = "PATH=/usr/bin:/bin";
  char lang[] = "LC_ALL=C.UTF-8";
  char zone[] = "TZ=UTC";
  char home[] = "HOME=/nonexistent";
  std::string preload = "LD_PRELOAD=" + user.library;
  const bool named = !drop || user.library.empty();
  char* environment[] = {path, lang, zone, home, named ? nullptr : preload.data(), nullptr};
  const Fd in = input_file(input);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  output_fd_ = Fd(ends[0]);
  const Fd out(ends[1]);
  runtime::ChildProgram child{.argv = arguments.data(),
                              .environment = environment,
                              .rights = std::nullopt,
                              .input = in.get(),
                              .output = out.get(),
                              .parent = ::getpid(),
                              .ordinary = drop};
  if (drop && user.switched) child.rights = {user.uid, user.gid};
  pid_ = ::fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) runtime::become(child);
  pidfd_ = open_process(pid_);
}

ChildProcess::~ChildProcess() {
  if (ended_) return;
  kill();
  ::waitpid(pid_, nullptr, 0);
}

void ChildProcess::kill() {
  if (!ended_) ::kill(pid_, SIGKILL);
}

void ChildProcess::drain() {
  char buffer[4096];
  ssize_t n;
  while ((n = ::read(output_fd_.get(), buffer, sizeof buffer)) > 0) {
    output_.append(buffer, static_cast<size_t>(n));
    if (output_.size() > 2 * kKeptOutput) output_.erase(0, output_.size() - kKeptOutput);
  }
  if (n == 0) output_fd_.reset();
}

bool ChildProcess::wait(std::chrono::milliseconds timeout, int wake_fd) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!ended_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd fds[3] = {
        {pidfd_.get(), POLLIN, 0}, {output_fd_.get(), POLLIN, 0}, {wake_fd, POLLIN, 0}};
    ::poll(fds, 3, static_cast<int>(std::max<int64_t>(0, left.count())));
    drain();
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      drain();
      ended_ = true;
      exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      break;
    }
    if ((fds[2].revents & POLLIN) != 0 || left.count() <= 0) break;
  }
  return ended_;
}

void run_program(const std::vector<std::string>& argv, const NodeUser& user, bool drop,
                 const std::string& input, std::chrono::milliseconds deadline, int cancel_fd) {
  ChildProcess child(argv, user, drop, input);
  const std::string name = argv[0].substr(argv[0].rfind('/') + 1);
  if (!child.wait(deadline, cancel_fd)) throw std::runtime_error(name + " did not end in time");
  if (child.exit_code() != 0) {
    const std::string& text = child.output();
    throw std::runtime_error(name +
                             " failed: " + text.substr(text.size() > 600 ? text.size() - 600 : 0));
  }
}

Fd open_process(pid_t pid) {
  if (pid <= 0) return Fd();
  return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool signal_process(pid_t pid, const NodeUser& user, int signal) {
  const Fd pidfd = open_process(pid);
  struct stat owner {};
  if (!pidfd.valid() || ::stat(("/proc/" + std::to_string(pid)).c_str(), &owner) != 0 ||
      owner.st_uid != user.uid) {
    return false;
  }
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0;
}

bool process_ended(const Fd& pidfd) {
  if (!pidfd.valid()) return true;
  pollfd fd{pidfd.get(), POLLIN, 0};
  return ::poll(&fd, 1, 0) > 0;
}

}  // namespace trunkline::agent
