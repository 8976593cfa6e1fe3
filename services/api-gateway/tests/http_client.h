// A blunt HTTP client for tests: sends any bytes, reads whole responses.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline::gateway::testing {

struct TestResponse {
  int status = 0;  // 0: the connection ended
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class TestClient {
 public:
  explicit TestClient(int port);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void send(std::string_view bytes);
  // The next response, 1xx included. `head`: it has no body whatever its length says.
  TestResponse read(bool head = false, int timeout_ms = 10'000);
  // What is left until the other side closes; nothing if it does not within the time.
  std::optional<std::string> read_to_end(int timeout_ms);
  int fd() const { return fd_; }

 private:
  bool fill(int timeout_ms);
  int fd_ = -1;
  std::string buffer_;
};

// One request on a connection of its own, or of `client`.
struct TestRequest {
  std::string method = "GET";
  std::string path = "/";
  std::string body;
  std::string token;
  std::map<std::string, std::string> headers;
};
std::string to_bytes(const TestRequest& request);
TestResponse exchange(int port, const TestRequest& request);

}  // namespace trunkline::gateway::testing
