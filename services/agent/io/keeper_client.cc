#include "agent/io/keeper_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>
#include <stdexcept>

#include "agent/io/process.h"

namespace trunkline::agent {

void start_keeper(const KeeperStart& start, const NodeUser& user) {
  std::vector<std::string> argv = {start.keeper,
                                   "--postgres",
                                   start.postgres,
                                   "--data",
                                   start.data_directory,
                                   "--log",
                                   start.log,
                                   "--control",
                                   start.control,
                                   "--pid-file",
                                   start.pid_file,
                                   "--restarts",
                                   std::to_string(start.restarts)};
  for (const auto& file : start.cgroup_procs) {
    argv.push_back("--cgroup");
    argv.push_back(file);
  }
  if (!start.hidden.empty()) {
    for (const auto& path : start.hidden) argv.insert(argv.end(), {"--hide", path});
    for (const auto& path : start.kept) argv.insert(argv.end(), {"--keep", path});
  }
  if (user.switched) {
    if (!user.library.empty()) {
      argv.insert(argv.end(), {"--preload", user.library, "--door", start.door});
    }
    argv.insert(argv.end(), {"--uid", std::to_string(user.uid), "--gid", std::to_string(user.gid)});
  }
  if (!start.guard.empty()) argv.insert(argv.end(), {"--guard", start.guard});
  if (start.adopt > 0) argv.insert(argv.end(), {"--adopt", std::to_string(start.adopt)});
  run_program(argv, user, false, "", std::chrono::seconds(10));
}

KeeperAnswer ask_keeper(const std::string& control, const std::string& request, std::string* reply,
                        int timeout_ms) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (control.size() >= sizeof address.sun_path) return KeeperAnswer::nobody;
  std::memcpy(address.sun_path, control.c_str(), control.size() + 1);
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // Bound to a name that the kernel picks, so that there is an address to answer to.
  sockaddr_un own{};
  own.sun_family = AF_UNIX;
  if (!fd.valid() ||
      ::bind(fd.get(), reinterpret_cast<sockaddr*>(&own), sizeof(sa_family_t)) != 0) {
    return KeeperAnswer::no_answer;
  }
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR ? KeeperAnswer::nobody
                                                                        : KeeperAnswer::no_answer;
  }
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    return errno == ECONNREFUSED ? KeeperAnswer::nobody : KeeperAnswer::no_answer;
  }
  pollfd ready{fd.get(), POLLIN, 0};
  if (::poll(&ready, 1, timeout_ms) <= 0) return KeeperAnswer::no_answer;
  char buffer[4096];
  const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
  if (n < 0) return KeeperAnswer::nobody;
  if (reply != nullptr) reply->assign(buffer, static_cast<size_t>(n));
  return KeeperAnswer::ok;
}

void tell_keeper(const std::string& control, const std::string& request) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (control.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, control.c_str(), control.size() + 1);
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return;
  ::sendto(fd.get(), request.data(), request.size(), MSG_NOSIGNAL,
           reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

std::optional<KeeperStatus> keeper_status(const std::string& control, bool* frozen) {
  std::string reply;
  const KeeperAnswer answer = ask_keeper(control, "status", &reply);
  *frozen = answer == KeeperAnswer::no_answer;
  if (answer != KeeperAnswer::ok || !reply.starts_with("ok ")) return std::nullopt;
  KeeperStatus status;
  std::istringstream words(reply.substr(3));
  std::string word;
  while (words >> word) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = word.substr(0, equals);
    const std::string value = word.substr(equals + 1);
    const long long number = std::strtoll(value.c_str(), nullptr, 10);
    if (name == "state") status.state = value;
    if (name == "pid") status.postmaster_pid = static_cast<pid_t>(number);
    if (name == "keeper") status.keeper_pid = static_cast<pid_t>(number);
    if (name == "restarts") status.restarts = static_cast<uint64_t>(number);
    if (name == "quick_deaths") status.quick_deaths = static_cast<uint32_t>(number);
    if (name == "started_unix_us") status.started_unix_us = number;
    if (name == "locked") status.memory_locked = number != 0;
    if (name == "realtime") status.realtime = number != 0;
    if (name == "held") status.held = number != 0;
    if (name == "term") status.guard.term = static_cast<uint64_t>(number);
    if (name == "need") status.guard.need = static_cast<uint32_t>(number);
    if (name == "voters") status.guard.voters = value;
    if (name == "until_ms") status.lease_until_ms = number;
    if (name == "exit") status.last_exit = static_cast<int>(number);
  }
  return status;
}

}  // namespace trunkline::agent
