#include "proxy/io/route_feed.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <thread>

#include "bus/streams.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::proxy {
namespace {

constexpr char kRouteSubjects[] = "tl.route.>";
constexpr char kPrimarySubjects[] = "tl.primary.*";
constexpr std::chrono::seconds kAskTimeout{3};
constexpr std::chrono::seconds kAskEvery{30};
constexpr std::chrono::seconds kAskAgain{1};  // while nobody answers
constexpr int kMostPages = 100'000;
constexpr std::chrono::seconds kDoubt{2};  // the time to connect and ask

std::chrono::steady_clock::time_point soon() {
  return std::chrono::steady_clock::now() + kDoubt;
}

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

void write_all(int fd, const std::string& bytes, const std::string& file) {
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t put = write(fd, bytes.data() + at, bytes.size() - at);
    if (put < 0) fail(file);
    at += static_cast<size_t>(put);
  }
}

}  // namespace

bool load_routes(const std::string& file, EndpointTable& table) {
  std::ifstream in(file, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  v1::Routes routes;
  if (bytes.empty() || !routes.ParseFromString(bytes)) return false;
  for (const auto& route : routes.routes()) table.take(route);
  table.doubt_until(soon());
  return true;
}

void store_routes(const std::string& file, const v1::Routes& routes) {
  const std::string bytes = routes.SerializeAsString();
  const std::string fresh = file + ".new";
  unlink(fresh.c_str());
  const int fd = open(fresh.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) fail(fresh);
  try {
    write_all(fd, bytes, fresh);
    if (fsync(fd) != 0) fail(fresh);
  } catch (...) {
    close(fd);
    throw;
  }
  close(fd);
  if (rename(fresh.c_str(), file.c_str()) != 0) fail(file);
}

struct RouteFeed::Impl {
  bus::Bus& bus;
  EndpointTable& table;
  const std::string cache_file;
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  bool ask_now = false;
  std::atomic<bool> unsaved = false;
  bool complained = false;
  std::unique_ptr<bus::Subscription> subscription;
  std::unique_ptr<bus::Subscription> primaries;
  std::thread thread;

  template <class News>
  void take(const News& route) {
    if (table.take(route)) {
      unsaved = true;
      wake.notify_one();
    }
  }

  // All routes, page by page; false: not all came.
  bool ask_all() {
    const std::map<InstanceId, uint64_t> before = table.positions();
    std::set<InstanceId> listed;
    std::string after;
    for (int page = 0; page < kMostPages; ++page) {
      v1::Query query;
      query.mutable_scope()->set_all_projects(true);
      query.mutable_list_routes()->set_after_instance_id(after);
      const auto got = bus.request(bus::kLookupSubject, query.SerializeAsString(), kAskTimeout);
      v1::QueryAnswer answer;
      if (!got || !answer.ParseFromString(got->data)) return false;
      if (answer.status() != v1::QUERY_STATUS_OK) return false;
      for (const auto& route : answer.routes().routes()) {
        take(route);
        if (canonical_uuid(route.instance_id())) listed.emplace(route.instance_id());
      }
      if (answer.next_marker().empty()) {
        if (table.keep_listed(listed, before, answer.position())) unsaved = true;
        return true;
      }
      if (answer.next_marker() <= after) return false;
      after = answer.next_marker();
    }
    return false;
  }

  bool try_to_ask() {
    try {
      return ask_all();
    } catch (const bus::BusUnavailable&) {
      return false;
    }
  }

  void save() {
    if (!unsaved.exchange(false)) return;
    try {
      store_routes(cache_file, table.all());
    } catch (const std::exception& error) {
      spdlog::error("routes are not stored: {}", error.what());
    }
  }

  void run() {
    auto next_ask = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex);
    while (!stopping) {
      const auto now = std::chrono::steady_clock::now();
      if (ask_now || now >= next_ask) {
        ask_now = false;
        lock.unlock();
        const bool answered = try_to_ask();
        if (answered) table.doubt_until({});
        if (!answered && !complained) spdlog::warn("lookup does not list routes; asking again");
        complained = !answered;
        lock.lock();
        next_ask = std::chrono::steady_clock::now() +
                   (answered ? std::chrono::seconds(kAskEvery) : std::chrono::seconds(kAskAgain));
      }
      lock.unlock();
      save();
      lock.lock();
      wake.wait_until(lock, next_ask, [this] { return stopping || ask_now || unsaved; });
    }
    lock.unlock();
    save();
  }
};

RouteFeed::RouteFeed(bus::Bus& bus, EndpointTable& table, std::string cache_file)
    : impl_(new Impl{bus, table, std::move(cache_file)}) {
  bus.on_disconnect([weak = std::weak_ptr(impl_)] {
    if (const auto impl = weak.lock()) impl->table.doubt_until(soon());
  });
  // First the news, then the whole: nothing falls between.
  impl_->subscription = bus.subscribe(kRouteSubjects, [impl = impl_.get()](bus::Message&& message) {
    v1::Route route;
    if (route.ParseFromString(message.data)) impl->take(route);
  });
  impl_->primaries =
      bus.subscribe(kPrimarySubjects, [impl = impl_.get()](bus::Message&& message) {
        v1::PrimaryNews news;
        if (news.ParseFromString(message.data)) impl->take(news);
      });
  bus.on_reconnect([weak = std::weak_ptr(impl_)] {
    const auto impl = weak.lock();
    if (!impl) return;
    impl->table.doubt_until(soon());
    const std::lock_guard lock(impl->mutex);
    impl->ask_now = true;
    impl->wake.notify_one();
  });
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

RouteFeed::~RouteFeed() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_one();
  impl_->thread.join();
  impl_->primaries.reset();
  impl_->subscription.reset();
}

}  // namespace trunkline::proxy
