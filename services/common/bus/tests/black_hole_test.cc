// A NATS server that is there and takes nothing more: who publishes must not hang with it.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "bus/bus.h"

namespace trunkline::bus {
namespace {

using Clock = std::chrono::steady_clock;

// Speaks just enough of the protocol to be connected to, until it swallows everything.
class BlackHole {
 public:
  BlackHole() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof any;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&any), size);
    ::listen(listener_, 8);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&any), &size);
    port_ = ntohs(any.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~BlackHole() {
    stopping_ = true;
    thread_.join();
    ::close(listener_);
  }
  std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }
  void swallow() { swallows_ = true; }

 private:
  static bool readable(int fd) {
    pollfd one{fd, POLLIN, 0};
    return ::poll(&one, 1, 20) > 0;
  }
  void serve() {
    while (!stopping_) {
      if (!readable(listener_)) continue;
      const int fd = ::accept(listener_, nullptr, nullptr);
      say(fd, "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"proto\":1,\"headers\":true,"
              "\"host\":\"127.0.0.1\",\"port\":" + std::to_string(port_) +
                  ",\"max_payload\":1048576}\r\n");
      std::string in;
      while (!stopping_) {
        if (swallows_) {
          ::usleep(20'000);
          continue;
        }
        if (!readable(fd)) continue;
        char buffer[4096];
        const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0) break;
        in.append(buffer, static_cast<size_t>(n));
        for (size_t at; (at = in.find("PING\r\n")) != std::string::npos;) {
          in.erase(0, at + 6);
          say(fd, "PONG\r\n");
        }
      }
      ::close(fd);
    }
  }
  static void say(int fd, const std::string& text) {
    if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) < 0) return;
  }

  int listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> swallows_{false};
  std::thread thread_;
};

TEST(BlackHole, PublishingToItFailsInTimeForEveryThread) {
  BlackHole server;
  const auto bus = Bus::connect({server.url(), "u", "p", "test"}, std::chrono::seconds(20));
  server.swallow();
  std::atomic<int64_t> longest_ms{0};
  const auto publish_until_it_fails = [&] {
    const std::string much(500'000, 'x');
    for (int i = 0; i < 200; ++i) {
      const auto begun = Clock::now();
      bool failed = false;
      try {
        bus->publish("tl.some.thing", much);
      } catch (const BusUnavailable&) {
        failed = true;
      }
      const auto took =
          std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun).count();
      int64_t known = longest_ms;
      while (took > known && !longest_ms.compare_exchange_weak(known, took)) {
      }
      if (failed) return true;
    }
    return false;
  };
  bool other_failed = false;
  std::thread other([&] { other_failed = publish_until_it_fails(); });
  EXPECT_TRUE(publish_until_it_fails());
  other.join();
  EXPECT_TRUE(other_failed);
  EXPECT_LT(longest_ms, 4000);
}

}  // namespace
}  // namespace trunkline::bus
