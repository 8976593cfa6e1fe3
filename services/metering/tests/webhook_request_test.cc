// One delivery against a receiver on this machine.
#include "metering/io/webhook_request.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "metering/io/webhook_address.h"

namespace trunkline::metering {
namespace {

// Answers every connection with the same bytes.
class Receiver {
 public:
  explicit Receiver(std::string answer) : answer_(std::move(answer)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(socket_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(socket_, 8);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Receiver() {
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  std::string url(const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(port_) + "/x";
  }
  int accepted() const { return accepted_; }

 private:
  void serve() {
    while (true) {
      const int client = ::accept(socket_, nullptr, nullptr);
      if (client < 0) return;
      ++accepted_;
      char buffer[4096];
      [[maybe_unused]] const ssize_t got = ::read(client, buffer, sizeof buffer);
      [[maybe_unused]] const ssize_t put = ::write(client, answer_.data(), answer_.size());
      ::close(client);
    }
  }
  const std::string answer_;
  int socket_ = -1;
  uint16_t port_ = 0;
  std::atomic<int> accepted_{0};
  std::thread thread_;
};

DeliveryResult deliver(const std::string& url, const std::vector<std::string>& allowed) {
  CURLM* const multi = curl_multi_init();
  DeliveryResult result;
  {
    WebhookTransport transport;
    transport.allowed = ip_ranges(allowed);
    WebhookRequest request(multi, transport, url, {}, "{}");
    int running = 1;
    while (running > 0) {
      curl_multi_perform(multi, &running);
      curl_multi_poll(multi, nullptr, 0, 100, nullptr);
    }
    int left = 0;
    const CURLMsg* message = curl_multi_info_read(multi, &left);
    if (message != nullptr) result = request.result(message->data.result);
  }
  curl_multi_cleanup(multi);
  return result;
}

TEST(WebhookRequest, ReachesWhatIsAllowed) {
  const Receiver receiver("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
  const auto result = deliver(receiver.url(), {"127.0.0.0/8"});
  EXPECT_EQ(result.status, 204);
  EXPECT_EQ(result.error, "");
}

// Also by a name that leads there, which its text does not tell.
TEST(WebhookRequest, NeverConnectsToAnInternalAddress) {
  const Receiver receiver("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const auto result = deliver(receiver.url(host), {"10.0.0.0/8"});
    EXPECT_EQ(result.status, 0) << host;
    EXPECT_NE(result.error.find("is internal"), std::string::npos) << result.error;
    EXPECT_NE(result.error.find("webhook_allow"), std::string::npos) << result.error;
  }
  EXPECT_EQ(receiver.accepted(), 0);
}

TEST(WebhookRequest, SaysThatRedirectsAreNotFollowed) {
  const Receiver receiver(
      "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/y\r\nContent-Length: 0\r\n"
      "Connection: close\r\n\r\n");
  const auto result = deliver(receiver.url(), {"127.0.0.1"});
  EXPECT_EQ(result.status, 302);
  EXPECT_EQ(result.error,
            "redirects are not followed (302 to http://elsewhere.example/y)");
}

}  // namespace
}  // namespace trunkline::metering
