#include "api-gateway/io/log_follower.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <map>

#include "bus/streams.h"

namespace trunkline::gateway {
namespace {

constexpr std::chrono::milliseconds kPatience{2'000};
constexpr std::chrono::milliseconds kTick{50};
constexpr std::chrono::seconds kHostSilent{30};

}  // namespace

struct LogFollower::Follow {
  std::string lane;
  LogSource source;
  std::shared_ptr<Reply> reply;
  Check check;
  Clock::time_point begun = Clock::now();
  Clock::time_point check_at;
  std::atomic<bool> over{false};
  // Under mutex.
  std::mutex mutex;
  bool asked = false;
  v1::LogPlace place;  // behind what was pushed
  Clock::time_point due;
  Clock::time_point heard = Clock::now();

  // With the mutex: nothing is pushed behind the place that the trailer names.
  void end_locked() {
    if (over.exchange(true)) return;
    reply->end({{kLogPlaceHeader, log_place_text(source.node, place)}});
  }
  void end() {
    const std::lock_guard lock(mutex);
    end_locked();
  }
};

LogFollower::LogFollower(bus::Bus& bus, LogFollowLimits limits)
    : bus_(bus), limits_(limits), thread_([this] { run(); }) {}

LogFollower::~LogFollower() { stop(); }

void LogFollower::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  for (const auto& follow : follows_) follow->end();
  follows_.clear();
}

size_t LogFollower::count() const {
  const std::lock_guard lock(mutex_);
  return follows_.size();
}

void LogFollower::ask(const LogSource& source, v1::NodeLogRequest request, Answer answer) {
  request.set_node_id(source.node);
  try {
    bus_.request_async(bus::log_subject(source.host), request.SerializeAsString(), kPatience,
                       [answer](std::optional<bus::Message> message) {
                         v1::NodeLogAnswer parsed;
                         const bool good = message && !message->headers.contains("Status") &&
                                           parsed.ParseFromString(message->data);
                         answer(good ? std::optional(std::move(parsed)) : std::nullopt);
                       });
  } catch (const bus::BusUnavailable&) {
    answer(std::nullopt);
  }
}

// With the mutex. When all places are taken the oldest response of who has most ends, with where to
// go on, for one who would still have fewer.
bool LogFollower::make_room(const std::string& lane) {
  std::map<std::string, size_t> counts;
  for (const auto& follow : follows_) ++counts[follow->lane];
  const size_t own = counts[lane];
  if (own >= limits_.most_a_lane) return false;
  if (follows_.size() < limits_.most) return true;
  const auto most = std::ranges::max_element(
      counts, [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most->second <= own + 1) return false;
  const auto oldest = std::ranges::find(follows_, most->first, &Follow::lane);
  (*oldest)->end();
  follows_.erase(oldest);
  return true;
}

bool LogFollower::follow(const std::string& lane, const LogSource& source,
                         v1::NodeLogAnswer first, std::shared_ptr<Reply> reply, Check check) {
  const auto added = std::make_shared<Follow>();
  added->lane = lane;
  added->source = source;
  added->reply = std::move(reply);
  added->check = std::move(check);
  added->check_at = added->begun + limits_.check;
  added->place = first.next();
  const std::lock_guard lock(mutex_);
  std::erase_if(follows_, [](const auto& other) {
    return other->over.load() || other->reply->gone();
  });
  if (stopping_ || !make_room(lane)) return false;
  HttpResponse head;
  head.content_type = "text/plain; charset=utf-8";
  head.headers.emplace_back("Cache-Control", "no-store");
  head.headers.emplace_back("Trailer", kLogPlaceHeader);
  added->reply->begin(std::move(head));
  if (!first.text().empty()) added->reply->push(std::move(*first.mutable_text()));
  follows_.push_back(added);
  wake_.notify_all();
  return true;
}

void LogFollower::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (follows_.empty()) wake_.wait(lock, [&] { return stopping_ || !follows_.empty(); });
    wake_.wait_for(lock, kTick, [&] { return stopping_; });
    std::erase_if(follows_, [](const auto& follow) {
      return follow->over.load() || follow->reply->gone();
    });
    const auto now_follows = follows_;
    lock.unlock();
    const auto now = Clock::now();
    for (const auto& follow : now_follows) look_after(follow, now);
    lock.lock();
  }
}

void LogFollower::look_after(const std::shared_ptr<Follow>& follow, Clock::time_point now) {
  if (now - follow->begun > limits_.longest) return follow->end();
  if (now >= follow->check_at) {
    follow->check_at = now + limits_.check;
    follow->check([follow](bool allowed) {
      if (!allowed) follow->end();
    });
  }
  v1::NodeLogRequest request;
  {
    const std::lock_guard lock(follow->mutex);
    if (follow->asked || now < follow->due || !follow->reply->ready()) return;
    if (now - follow->heard > kHostSilent) return follow->end_locked();
    follow->asked = true;
    *request.mutable_from() = follow->place;
  }
  // Without `this`: an answer may come after the end.
  ask(follow->source, std::move(request),
      [follow, pause = limits_.pause](std::optional<v1::NodeLogAnswer> answer) {
        on_answer(follow, pause, std::move(answer));
      });
}

void LogFollower::on_answer(const std::shared_ptr<Follow>& follow, std::chrono::milliseconds pause,
                            std::optional<v1::NodeLogAnswer> answer) {
  const auto now = Clock::now();
  const std::lock_guard lock(follow->mutex);
  follow->asked = false;
  follow->due = now + pause;
  if (!answer || follow->over) return;
  follow->heard = now;
  if (!answer->there()) return follow->end_locked();
  follow->place = answer->next();
  if (answer->text().empty()) return;
  follow->reply->push(std::move(*answer->mutable_text()));
  follow->due = now;
}

}  // namespace trunkline::gateway
