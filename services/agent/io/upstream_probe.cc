#include "agent/io/upstream_probe.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/io/file_ops.h"

namespace trunkline::agent {
namespace {

using Clock = std::chrono::steady_clock;

bool ready(const Fd& fd, short events, Clock::time_point until) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
  pollfd one{fd.get(), events, 0};
  return ::poll(&one, 1, static_cast<int>(std::max<int64_t>(left, 0))) > 0;
}

// 0: not an address.
socklen_t socket_address(const NodeAddress& address, sockaddr_storage* out) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(out);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(out);
  if (::inet_pton(AF_INET, address.address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(address.port));
    return sizeof *v4;
  }
  if (::inet_pton(AF_INET6, address.address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(address.port));
    return sizeof *v6;
  }
  return 0;
}

Fd connect_to(const NodeAddress& address, Clock::time_point until) {
  sockaddr_storage to{};
  const socklen_t size = socket_address(address, &to);
  if (size == 0) return Fd();
  Fd fd(::socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), size) == 0) return fd;
  if (errno != EINPROGRESS || !ready(fd, POLLOUT, until)) return Fd();
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error == 0 ? std::move(fd) : Fd();
}

}  // namespace

bool is_taken(const NodeAddress& address) {
  sockaddr_storage at{};
  const socklen_t size = socket_address(address, &at);
  if (size == 0) return false;
  const Fd fd(::socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;  // as PostgreSQL does: connections that are over do not count
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  return fd.valid() && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), size) != 0 &&
         errno == EADDRINUSE;
}

bool listens(const NodeAddress& address, std::chrono::milliseconds longest) {
  return connect_to(address, Clock::now() + longest).valid();
}

bool postmaster_answers(const NodeAddress& address, std::chrono::milliseconds longest) {
  const auto until = Clock::now() + longest;
  const Fd fd = connect_to(address, until);
  if (!fd.valid()) return false;
  constexpr unsigned char kSslRequest[] = {0, 0, 0, 8, 4, 210, 22, 47};
  if (::send(fd.get(), kSslRequest, sizeof kSslRequest, MSG_NOSIGNAL) != sizeof kSslRequest) {
    return false;
  }
  char answer = 0;
  return ready(fd, POLLIN, until) && ::recv(fd.get(), &answer, 1, 0) == 1 &&
         (answer == 'S' || answer == 'N');
}

std::optional<RebuildTurn> RebuildTurn::take(const std::string& conninfo) {
  const std::string full = conninfo + " dbname=postgres options='-c statement_timeout=3s'";
  std::shared_ptr<PGconn> session(PQconnectdb(full.c_str()), PQfinish);
  if (PQstatus(session.get()) != CONNECTION_OK) return std::nullopt;
  // "rebuild" in hexadecimal: one number for all groups, since each has servers of its own.
  const std::unique_ptr<PGresult, decltype(&PQclear)> taken(
      PQexec(session.get(), "select pg_catalog.pg_try_advisory_lock(x'72656275696c64'::bigint)"),
      PQclear);
  const bool ok = PQresultStatus(taken.get()) == PGRES_TUPLES_OK &&
                  std::string(PQgetvalue(taken.get(), 0, 0)) == "t";
  return ok ? std::optional(RebuildTurn(std::move(session))) : std::nullopt;
}

}  // namespace trunkline::agent
