#include "proxy/io/pools.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "proxy/domain/pool_files.h"
#include "proxy/io/pool_process.h"

namespace trunkline::proxy {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLookAgain{10};      // while one comes up
constexpr milliseconds kLong{60'000};
constexpr milliseconds kHealthyTime{10'000};  // one that lived so long did not die at once
constexpr milliseconds kAfterFailure{1'000};
constexpr milliseconds kEndTime{5'000};
constexpr int kLinesAMinute = 20;
constexpr int kBacklog = 512;

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::string socket_path(const std::string& folder, uint16_t port) {
  return folder + "/.s.PGSQL." + std::to_string(port);
}

void give(const std::string& path, uid_t uid, gid_t gid) {
  if (uid != 0 && lchown(path.c_str(), uid, gid) != 0) fail(path);
}

void make_folder(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) fail(path);
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) fail(path);
  if (!S_ISDIR(status.st_mode)) throw std::runtime_error(path + " is no directory");
  if (chmod(path.c_str(), mode) != 0) fail(path);
}

int listen_at(const std::string& path, uid_t uid, gid_t gid) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw std::runtime_error(path + " is too long for a socket");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  unlink(path.c_str());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail(path);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, kBacklog) != 0 || chmod(path.c_str(), 0600) != 0 ||
      (uid != 0 && lchown(path.c_str(), uid, gid) != 0)) {
    const int error = errno;
    close(fd);
    errno = error;
    fail(path);
  }
  return fd;
}

void replace_file(const std::string& path, const std::string& text, uid_t uid, gid_t gid) {
  const std::string fresh = path + ".new";
  unlink(fresh.c_str());
  const int fd = open(fresh.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) fail(fresh);
  const ssize_t put = write(fd, text.data(), text.size());
  close(fd);
  if (put != static_cast<ssize_t>(text.size())) fail(fresh);
  give(fresh, uid, gid);
  if (rename(fresh.c_str(), path.c_str()) != 0) fail(path);
}

std::string end_of(int status) {
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

struct Pools::Pool {
  EndpointName name;
  // Of all threads.
  unsigned sessions = 0;
  steady_clock::time_point idle_since;
  bool stale = false;  // its files are of an older route
  bool gone = false;
  State state = State::coming;
  // Of the pools' own.
  std::unique_ptr<PoolProcess> process;
  bool reload = false;
  bool ending = false;
  bool listening = false;
  unsigned deaths = 0;
  steady_clock::time_point started;
  steady_clock::time_point end_at;      // when it is ended by force
  steady_clock::time_point not_before;  // is it started
  std::string config;
  std::string users;
  steady_clock::time_point minute;  // that `lines` are of
  int lines = 0;
};

Pools::Pools(PoolOptions options, const EndpointTable& endpoints, Opened opened, Closed closed)
    : options_(std::move(options)),
      endpoints_(endpoints),
      opened_(std::move(opened)),
      closed_(std::move(closed)) {
  if (geteuid() == 0) {
    const passwd* user = getpwnam(options_.user.c_str());
    if (user == nullptr || user->pw_uid == 0) {
      throw std::runtime_error("\"" + options_.user + "\" is no user for connection pools");
    }
    uid_ = user->pw_uid;
    gid_ = user->pw_gid;
  }
  wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_ < 0) fail("eventfd");
  thread_ = std::thread([this] { run(); });
}

Pools::~Pools() {
  stop();
  close(wake_);
}

void Pools::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
}

std::string Pools::folder(const EndpointName& name) const {
  return options_.folder + "/" + name.instance.str() +
         (name.kind == EndpointKind::read_only ? "-ro" : "");
}

void Pools::wake() const {
  const uint64_t one = 1;
  const ssize_t ignored = write(wake_, &one, sizeof one);
  static_cast<void>(ignored);
}

void Pools::enter(const EndpointName& name) {
  const std::lock_guard lock(mutex_);
  auto& pool = pools_[{name.instance, name.kind}];
  if (!pool) {
    pool = std::make_unique<Pool>();
    pool->name = name;
  }
  if (++pool->sessions == 1) wake();
}

void Pools::leave(const EndpointName& name) {
  const std::lock_guard lock(mutex_);
  const auto found = pools_.find({name.instance, name.kind});
  if (--found->second->sessions != 0) return;
  found->second->idle_since = steady_clock::now();
  wake();
}

Pools::State Pools::state(const EndpointName& name) const {
  const std::lock_guard lock(mutex_);
  return pools_.at({name.instance, name.kind})->state;
}

void Pools::route_changed(const RouteView& now) {
  const std::lock_guard lock(mutex_);
  for (const auto kind : {EndpointKind::read_write, EndpointKind::read_only}) {
    const auto found = pools_.find({now.instance, kind});
    if (found == pools_.end()) continue;
    found->second->stale = true;
    found->second->gone = now.state == RouteView::State::gone;
    wake();
  }
}

size_t Pools::running() const {
  const std::lock_guard lock(mutex_);
  return static_cast<size_t>(std::count_if(pools_.begin(), pools_.end(), [](const auto& each) {
    return each.second->state == State::up;
  }));
}

// A child is killed when the thread that made it ends, so this one makes them all.
void Pools::run() {
  while (true) {
    std::vector<Pool*> all;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) break;
      for (auto& [key, pool] : pools_) all.push_back(pool.get());
    }
    for (Pool* pool : all) {
      try {
        tend(*pool);
      } catch (const std::exception& error) {
        spdlog::error("the pool of instance {} does not come up: {}", pool->name.instance.str(),
                      error.what());
        pool->not_before = steady_clock::now() + kAfterFailure;
        const std::lock_guard lock(mutex_);
        pool->stale = true;
      }
    }
    wait_for_news(all);
  }
  const std::lock_guard lock(mutex_);
  for (auto& [key, pool] : pools_) pool->process.reset();
}

void Pools::set_state(Pool& pool, State state) {
  const std::lock_guard lock(mutex_);
  pool.state = state;
}

void Pools::tend(Pool& pool) {
  const auto now = steady_clock::now();
  if (pool.process) {
    pass_on_log(pool);
    if (pool.process->has_ended()) bury(pool);
  }
  bool wanted = false, gone = false, stale = false;
  {
    const std::lock_guard lock(mutex_);
    gone = pool.gone;
    wanted = !gone && pool.sessions > 0;
    stale = std::exchange(pool.stale, false);
    // Under the same lock as enter(): who came before it keeps the pool up.
    const bool enough = gone || (pool.sessions == 0 && pool.idle_since + options_.idle_time <= now);
    if (pool.process && enough && !pool.ending) {
      pool.ending = true;
      pool.state = State::coming;
      pool.process->send_signal(SIGTERM);
      pool.end_at = now + kEndTime;
    }
  }
  if (gone && !pool.process) forget(pool);
  if (wanted && !pool.process && now >= pool.not_before) start(pool);
  if (!pool.process) return;
  if (pool.ending) {
    if (now >= pool.end_at) pool.process->send_signal(SIGKILL);
    return;
  }
  if (stale && write_files(pool)) pool.reload = true;
  if (access(socket_path(folder(pool.name), kPoolClientPort).c_str(), F_OK) != 0) return;
  set_state(pool, State::up);
  // Not sooner: a signal that nobody handles yet would end it.
  if (std::exchange(pool.reload, false)) pool.process->send_signal(SIGHUP);
}

void Pools::bury(Pool& pool) {
  const auto now = steady_clock::now();
  const bool expected = pool.ending;
  if (!expected) {
    if (now - pool.started >= kHealthyTime) pool.deaths = 0;
    pool.not_before = now + pool_restart_pause(++pool.deaths);
    spdlog::warn("the pool of instance {} ended unasked: {}", pool.name.instance.str(),
                 end_of(pool.process->status()));
  }
  pool.process.reset();
  pool.ending = false;
  pool.reload = false;
  set_state(pool, State::coming);
}

bool Pools::is_crowded() const {
  const std::lock_guard lock(mutex_);
  return static_cast<size_t>(std::count_if(pools_.begin(), pools_.end(), [](const auto& each) {
           return each.second->process != nullptr;
         })) >= options_.most;
}

void Pools::start(Pool& pool) {
  if (access(options_.program.c_str(), X_OK) != 0) {
    if (!std::exchange(complained_, true)) {
      spdlog::error("no connection pools: there is no {}", options_.program);
    }
    set_state(pool, State::impossible);
    pool.not_before = steady_clock::now() + kAfterFailure;
    return;
  }
  if (is_crowded()) {
    set_state(pool, State::crowded);
    pool.not_before = steady_clock::now() + kAfterFailure;
    return;
  }
  set_state(pool, State::coming);
  const std::string at = folder(pool.name);
  make_folder(options_.folder, uid_ == 0 ? 0700 : 0711);
  make_folder(at, 0700);
  give(at, uid_, gid_);
  if (!pool.listening) {
    opened_(pool.name, listen_at(socket_path(at, kPoolServerPort), uid_, gid_));
    pool.listening = true;
  }
  pool.config.clear();
  write_files(pool);
  unlink(socket_path(at, kPoolClientPort).c_str());
  pool.process =
      std::make_unique<PoolProcess>(options_.program, at + "/pgbouncer.ini", uid_, gid_);
  pool.started = steady_clock::now();
  spdlog::info("the pool of instance {} starts", pool.name.instance.str());
}

// True if they changed.
bool Pools::write_files(Pool& pool) {
  const auto endpoint = endpoints_.find(pool.name);
  if (!endpoint) return false;
  const auto route = endpoint->route();
  const std::string at = folder(pool.name);
  std::string config = pool_config(at, pool_limits(route->connections));
  std::string users = pool_users(route->verifiers);
  if (config == pool.config && users == pool.users) return false;
  replace_file(at + "/users.txt", users, uid_, gid_);
  replace_file(at + "/pgbouncer.ini", config, uid_, gid_);
  pool.config = std::move(config);
  pool.users = std::move(users);
  return true;
}

// The instance is deleted: nothing of its users stays.
void Pools::forget(Pool& pool) {
  if (!pool.listening) return;
  closed_(pool.name);
  pool.listening = false;
  const std::string at = folder(pool.name);
  for (const char* file : {"/users.txt", "/pgbouncer.ini"}) unlink((at + file).c_str());
  for (const uint16_t port : {kPoolClientPort, kPoolServerPort}) {
    unlink(socket_path(at, port).c_str());
  }
  rmdir(at.c_str());
}

void Pools::pass_on_log(Pool& pool) {
  const auto now = steady_clock::now();
  for (const auto& line : pool.process->new_lines()) {
    if (!is_pool_complaint(line)) continue;
    if (now - pool.minute >= std::chrono::minutes(1)) {
      pool.minute = now;
      pool.lines = 0;
    }
    if (++pool.lines > kLinesAMinute) continue;
    spdlog::warn("the pool of instance {} says: {}", pool.name.instance.str(), line);
  }
}

milliseconds Pools::time_left(const Pool& pool) const {
  const auto now = steady_clock::now();
  const auto until = [now](steady_clock::time_point time) {
    return std::clamp(std::chrono::ceil<milliseconds>(time - now), milliseconds(0), kLong);
  };
  const std::lock_guard lock(mutex_);
  if (!pool.process) return pool.sessions > 0 && !pool.gone ? until(pool.not_before) : kLong;
  if (pool.ending) return until(pool.end_at);
  if (pool.state != State::up) return kLookAgain;
  return pool.sessions == 0 ? until(pool.idle_since + options_.idle_time) : kLong;
}

void Pools::wait_for_news(const std::vector<Pool*>& all) {
  std::vector<pollfd> fds{{wake_, POLLIN, 0}};
  milliseconds left = kLong;
  for (const Pool* pool : all) {
    left = std::min(left, time_left(*pool));
    if (!pool->process) continue;
    fds.push_back({pool->process->end_fd(), POLLIN, 0});
    fds.push_back({pool->process->log_fd(), POLLIN, 0});
  }
  poll(fds.data(), fds.size(), static_cast<int>(left.count()));
  uint64_t count = 0;
  const ssize_t ignored = read(wake_, &count, sizeof count);
  static_cast<void>(ignored);
}

}  // namespace trunkline::proxy
