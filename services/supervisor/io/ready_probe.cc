#include "supervisor/io/ready_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace trunkline::supervisor {
namespace {

constexpr int kConnectTimeoutMs = 50;

bool accepts(int family, const sockaddr* address, socklen_t length) {
  const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  bool connected = connect(fd, address, length) == 0;
  if (!connected && errno == EINPROGRESS) {
    pollfd waiting{fd, POLLOUT, 0};
    int error = 0;
    socklen_t error_length = sizeof error;
    connected = poll(&waiting, 1, kConnectTimeoutMs) == 1 &&
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_length) == 0 && error == 0;
  }
  close(fd);
  return connected;
}

bool tcp_accepts(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return false;
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  if (inet_pton(AF_INET, address.substr(0, colon).c_str(), &target.sin_addr) != 1) return false;
  return accepts(AF_INET, reinterpret_cast<const sockaddr*>(&target), sizeof target);
}

bool unix_accepts(const std::string& path) {
  sockaddr_un target{};
  target.sun_family = AF_UNIX;
  if (path.size() >= sizeof target.sun_path) return false;
  std::memcpy(target.sun_path, path.c_str(), path.size() + 1);
  return accepts(AF_UNIX, reinterpret_cast<const sockaddr*>(&target), sizeof target);
}

}  // namespace

bool is_ready(const ReadyCheck& check) {
  switch (check.kind) {
    case ReadyCheck::Kind::none:
      return true;
    case ReadyCheck::Kind::tcp:
      return tcp_accepts(check.address);
    case ReadyCheck::Kind::unix_socket:
      return unix_accepts(check.address);
  }
  return false;
}

}  // namespace trunkline::supervisor
