// Clients that follow a node's log: asks the node's host for what is new, a piece at a time, and
// only when the piece before has left for the client. So a client that does not read costs one
// piece of memory and no question, until the server gives it up. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api-gateway/domain/log_request.h"
#include "api-gateway/io/http_server.h"
#include "bus/bus.h"
#include "trunkline/v1/node_log.pb.h"

namespace trunkline::gateway {

struct LogFollowLimits {
  size_t most = 64;           // at once; then who has most gives way to who has fewer
  size_t most_a_lane = 16;    // of all tokens of a project
  std::chrono::milliseconds pause{300};  // after a question that brought nothing
  // Then the response ends, and says where: whoever wants more asks again from there.
  std::chrono::milliseconds longest{900'000};
  std::chrono::seconds check{10};        // whether the token is still good
};

class LogFollower {
 public:
  using Answer = std::function<void(std::optional<v1::NodeLogAnswer>)>;
  // Calls back with whether the follower may go on; from any thread.
  using Check = std::function<void(std::function<void(bool)>)>;

  LogFollower(bus::Bus& bus, LogFollowLimits limits);
  ~LogFollower();

  // One question to a host; nothing in time: nothing. Calls back once, perhaps within the call.
  void ask(const LogSource& source, v1::NodeLogRequest request, Answer answer);

  // Takes the reply over, from behind `first` on. `lane`: fair_lane() of who asks. False: there are
  // too many; nothing was sent.
  bool follow(const std::string& lane, const LogSource& source, v1::NodeLogAnswer first,
              std::shared_ptr<Reply> reply, Check check);
  size_t count() const;
  void stop();  // ends all responses

 private:
  using Clock = std::chrono::steady_clock;
  struct Follow;
  bool make_room(const std::string& lane);
  void run();
  void look_after(const std::shared_ptr<Follow>& follow, Clock::time_point now);
  static void on_answer(const std::shared_ptr<Follow>& follow, std::chrono::milliseconds pause,
                        std::optional<v1::NodeLogAnswer> answer);

  bus::Bus& bus_;
  const LogFollowLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::vector<std::shared_ptr<Follow>> follows_;
  std::thread thread_;
};

}  // namespace trunkline::gateway
