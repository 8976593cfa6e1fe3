#include "api-gateway/tests/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

namespace trunkline::gateway::testing {

TestClient::TestClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    throw std::runtime_error("cannot connect");
  }
}

TestClient::~TestClient() { ::close(fd_); }

void TestClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

bool TestClient::fill(int timeout_ms) {
  pollfd wait{fd_, POLLIN, 0};
  if (::poll(&wait, 1, timeout_ms) <= 0) return false;
  char bytes[16384];
  const ssize_t count = ::recv(fd_, bytes, sizeof bytes, 0);
  if (count <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(count));
  return true;
}

TestResponse TestClient::read(bool head, int timeout_ms) {
  TestResponse out;
  size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!fill(timeout_ms)) return out;
  }
  std::string text = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  out.status = std::stoi(text.substr(text.find(' ') + 1, 3));
  text.erase(0, text.find("\r\n") + 2);
  while (!text.empty()) {
    const size_t line = text.find("\r\n");
    const size_t colon = text.find(": ");
    std::string name = text.substr(0, colon);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    out.headers[name] = text.substr(colon + 2, line - colon - 2);
    text.erase(0, line + 2);
  }
  if (head || !out.headers.contains("content-length")) return out;
  const size_t size = std::stoul(out.headers["content-length"]);
  while (buffer_.size() < size) {
    if (!fill(timeout_ms)) return TestResponse{};
  }
  out.body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return out;
}

std::optional<std::string> TestClient::read_to_end(int timeout_ms) {
  while (true) {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, timeout_ms) <= 0) return std::nullopt;
    char bytes[16384];
    const ssize_t count = ::recv(fd_, bytes, sizeof bytes, 0);
    if (count <= 0) return std::exchange(buffer_, {});
    buffer_.append(bytes, static_cast<size_t>(count));
  }
}

std::string to_bytes(const TestRequest& request) {
  std::string out = request.method + " " + request.path + " HTTP/1.1\r\nHost: test\r\n";
  if (!request.token.empty()) out += "Authorization: Bearer " + request.token + "\r\n";
  bool typed = false;
  for (const auto& [name, value] : request.headers) {
    out += name + ": " + value + "\r\n";
    typed = typed || name == "Content-Type";
  }
  if (!request.body.empty()) {
    if (!typed) out += "Content-Type: application/json\r\n";
    out += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  return out + "\r\n" + request.body;
}

TestResponse exchange(int port, const TestRequest& request) {
  TestClient client(port);
  client.send(to_bytes(request));
  return client.read(request.method == "HEAD");
}

}  // namespace trunkline::gateway::testing
