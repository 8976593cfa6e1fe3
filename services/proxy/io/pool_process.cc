#include "proxy/io/pool_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "runtime/child_program.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kMostLineBytes = 4096;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

PoolProcess::PoolProcess(const std::string& program, const std::string& config_file, uid_t uid,
                         gid_t gid) {
  char* const argv[] = {const_cast<char*>(program.c_str()),
                        const_cast<char*>(config_file.c_str()), nullptr};
  char zone[] = "TZ=UTC";
  char lang[] = "LC_ALL=C.UTF-8";
  char* const environment[] = {zone, lang, nullptr};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
  log_ = ends[0];
  ::fcntl(log_, F_SETFL, O_NONBLOCK);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  runtime::ChildProgram child{argv, environment, std::nullopt, nothing, ends[1], ::getpid()};
  if (uid != 0) child.rights = {uid, gid};
  pid_ = ::fork();
  if (pid_ == 0) runtime::become(child);
  const int error = errno;
  ::close(nothing);
  ::close(ends[1]);
  if (pid_ > 0) pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pid_ > 0 && pidfd_ >= 0) return;
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(log_);
  errno = error;
  fail("fork");
}

PoolProcess::~PoolProcess() {
  if (!ended_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(pidfd_);
  ::close(log_);
}

bool PoolProcess::has_ended() {
  if (!ended_) ended_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
  return ended_;
}

void PoolProcess::send_signal(int signal) {
  if (!has_ended()) ::kill(pid_, signal);
}

std::vector<std::string> PoolProcess::new_lines() {
  char buffer[4096];
  ssize_t got = 0;
  std::vector<std::string> out;
  while ((got = ::read(log_, buffer, sizeof buffer)) > 0) {
    said_.append(buffer, static_cast<size_t>(got));
    size_t end = 0;
    while ((end = said_.find('\n')) != std::string::npos) {
      out.push_back(said_.substr(0, std::min(end, kMostLineBytes)));
      said_.erase(0, end + 1);
    }
    if (said_.size() > kMostLineBytes) said_.resize(kMostLineBytes);
  }
  return out;
}

}  // namespace trunkline::proxy
