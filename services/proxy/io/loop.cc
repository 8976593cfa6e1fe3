#include "proxy/io/loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace trunkline::proxy {
namespace {

constexpr int kEventsARound = 128;

}  // namespace

Loop::Loop() : now_(std::chrono::steady_clock::now()), scratch_(new char[kScratchBytes]) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (epoll_ < 0 || wake_ < 0) throw std::system_error(errno, std::generic_category(), "epoll");
  wake_watch_ = {&Loop::on_wake, this};
  add(wake_, EPOLLIN, &wake_watch_);
}

Loop::~Loop() {
  close(wake_);
  close(epoll_);
}

void Loop::on_wake(void* self, uint32_t) {
  uint64_t count = 0;
  const ssize_t ignored = read(static_cast<Loop*>(self)->wake_, &count, sizeof count);
  static_cast<void>(ignored);
}

void Loop::post(std::function<void()> work) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(work));
  }
  if (!first) return;
  const uint64_t one = 1;
  const ssize_t ignored = write(wake_, &one, sizeof one);
  static_cast<void>(ignored);
}

void Loop::stop() {
  stopping_ = true;
  post([] {});
}

void Loop::add(int fd, uint32_t events, Watch* watch) {
  epoll_event event{.events = events, .data = {.ptr = watch}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
}

void Loop::change(int fd, uint32_t events, Watch* watch) {
  epoll_event event{.events = events, .data = {.ptr = watch}};
  epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void Loop::run_posted() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& piece : work) piece();
}

void Loop::run_deferred() {
  while (!deferred_.empty()) {
    std::vector<std::function<void()>> work;
    work.swap(deferred_);
    for (auto& piece : work) piece();
  }
}

int Loop::run_timers() {
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    auto work = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    work();
  }
  if (timers_.empty()) return -1;
  const auto left = timers_.begin()->first - now_;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
}

void Loop::run() {
  epoll_event events[kEventsARound];
  int patience = -1;
  while (!stopping_) {
    const int count = epoll_wait(epoll_, events, kEventsARound, patience);
    now_ = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      const Watch* watch = static_cast<Watch*>(events[i].data.ptr);
      watch->call(watch->owner, events[i].events);
    }
    run_posted();
    do {
      run_deferred();
      patience = run_timers();
    } while (!deferred_.empty());
  }
  run_posted();
  run_deferred();
}

}  // namespace trunkline::proxy
