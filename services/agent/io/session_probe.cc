#include "agent/io/session_probe.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace trunkline::agent {

SessionProbe::Ask SessionProbe::ask(const std::string& socket_path) {
  fd_.reset();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) return Ask::not_there;
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return Ask::not_there;
  // A queue that is full answers EAGAIN: who does not take from it takes no sessions.
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return errno == EAGAIN || errno == EINPROGRESS ? Ask::refused : Ask::not_there;
  }
  constexpr unsigned char kSslRequest[] = {0, 0, 0, 8, 4, 210, 22, 47};
  if (::send(fd.get(), kSslRequest, sizeof kSslRequest, MSG_NOSIGNAL) != sizeof kSslRequest) {
    return Ask::refused;
  }
  fd_ = std::move(fd);
  return Ask::asked;
}

bool SessionProbe::answered() {
  pollfd one{fd_.get(), POLLIN, 0};
  if (!fd_.valid() || ::poll(&one, 1, 0) <= 0) return false;
  fd_.reset();
  return true;
}

}  // namespace trunkline::agent
