#include "cli/tests/fake_api.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>

namespace trunkline::cli {

FakeApi::FakeApi() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener_, generic, length) != 0 || listen(listener_, 16) != 0 ||
      getsockname(listener_, generic, &length) != 0) {
    throw std::runtime_error("no loopback port to listen on");
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

FakeApi::~FakeApi() {
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  close(listener_);
}

void FakeApi::lay_down(const std::string& method_and_path, std::vector<FakeAnswer> answers) {
  std::lock_guard lock(mutex_);
  answers_[method_and_path] = {answers.begin(), answers.end()};
}

std::vector<FakeRequest> FakeApi::requests() {
  std::lock_guard lock(mutex_);
  return requests_;
}

// One connection at a time: the client under test has one.
void FakeApi::serve() {
  for (;;) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    answer_one(client);
    close(client);
  }
}

bool FakeApi::answer_one(int client) {
  const timeval patience{5, 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  std::string text;
  size_t wanted = std::string::npos;
  size_t head_size = 0;
  while (text.size() < wanted) {
    char buffer[4096];
    const ssize_t got = read(client, buffer, sizeof buffer);
    if (got <= 0) return false;
    text.append(buffer, static_cast<size_t>(got));
    if (wanted != std::string::npos) continue;
    const size_t end = text.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    head_size = end + 4;
    const size_t field = text.find("Content-Length: ");
    wanted = head_size + (field < end ? std::stoul(text.substr(field + 16)) : 0);
  }
  FakeRequest request;
  request.head = text.substr(0, head_size);
  request.body = text.substr(head_size);
  const size_t space = text.find(' ');
  request.method = text.substr(0, space);
  request.target = text.substr(space + 1, text.find(' ', space + 1) - space - 1);
  const FakeAnswer answer = next(request);
  std::string out = "HTTP/1.1 " + std::to_string(answer.status) + " x\r\nConnection: close\r\n";
  for (const std::string& header : answer.headers) out += header + "\r\n";
  if (!answer.trailers.empty()) {
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", answer.body.size());
    out += "Transfer-Encoding: chunked\r\n\r\n";
    if (!answer.body.empty()) out += size + answer.body + "\r\n";
    out += "0\r\n";
    for (const std::string& trailer : answer.trailers) out += trailer + "\r\n";
    out += "\r\n";
  } else {
    if (answer.status != 204) {
      out += "Content-Length: " + std::to_string(answer.body.size()) + "\r\n";
    }
    out += "\r\n" + answer.body;
  }
  return write(client, out.data(), out.size()) == static_cast<ssize_t>(out.size());
}

FakeAnswer FakeApi::next(const FakeRequest& request) {
  std::lock_guard lock(mutex_);
  requests_.push_back(request);
  const std::string path = request.target.substr(0, request.target.find('?'));
  const auto found = answers_.find(request.method + " " + path);
  if (found == answers_.end() || found->second.empty()) {
    return {404, R"({"type":"not_found","code":404,"message":"nothing laid down"})", {}};
  }
  const FakeAnswer answer = found->second.front();
  if (found->second.size() > 1) found->second.pop_front();
  return answer;
}

}  // namespace trunkline::cli
