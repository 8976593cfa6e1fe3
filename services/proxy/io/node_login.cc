#include "proxy/io/node_login.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "base/digest.h"
#include "base/host_name.h"
#include "base/ids.h"
#include "proxy/domain/scram.h"
#include "proxy/domain/wire.h"
#include "runtime/random.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kMostReport = 64 * 1024;
constexpr char kNotAuthorized[] = "28000";
constexpr uint32_t kAuthenticated = 0;
constexpr uint32_t kSasl = 10;
constexpr uint32_t kSaslContinue = 11;
constexpr uint32_t kSaslFinal = 12;

NodeRefused refused(const Refusal& why) { return {fatal(why), why.sqlstate}; }

// A node that asks nobody for a password is closed: it may not serve now.
NodeRefused refused(std::string_view report, bool let_in) {
  const std::string sqlstate(report_field(report, 'C'));
  const bool is_closed = !let_in && sqlstate == kNotAuthorized;
  return {message('E', report), is_closed ? kCannotConnectNow : sqlstate};
}

Task<void> begin_tls(Stream& stream, const ProxyContext& context, const NodeView& node,
                     SteadyTime deadline) {
  const std::string request = ssl_request();
  co_await stream.send(request, deadline);
  std::string answer;
  co_await stream.receive(answer, 1, deadline);
  if (answer != "S") throw Disconnected{};
  stream.use_tls(connect_session(context.node_tls.get(), stream.fd(), node.address));
  co_await stream.handshake(deadline);
}

bool is_folder(std::string_view address) { return address.starts_with('/'); }

// A socket, or what is wrong as a negative error number.
int connect_unix_socket(const std::string& folder, uint16_t port) {
  const std::string path = folder + "/.s.PGSQL." + std::to_string(port);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path) return -ENAMETOOLONG;
  path.copy(to.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return fd;
  const int why = errno;
  close(fd);
  return -why;
}

// Of a node on this machine; "" if it cannot be one.
std::string socket_folder(const ProxyContext& context, const NodeView& node) {
  if (context.options.node_sockets.empty() || !is_host_name(node.host) || !is_uuid(node.id.str())) {
    return {};
  }
  return context.options.node_sockets + "/" + node.host + "/" + node.id.str();
}

// Whoever owns the folder could have put another's socket there: the server must be the owner's.
bool is_owners(int fd, const std::string& folder) {
  struct stat owner {};
  ucred server{};
  socklen_t size = sizeof server;
  return stat(folder.c_str(), &owner) == 0 &&
         getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &server, &size) == 0 &&
         server.uid == owner.st_uid;
}

struct NodeWay {
  int fd = -1;
  std::string address;  // as of connect_socket()
};

// By the node's socket where that can be reached, else over the network.
NodeWay way_to(const ProxyContext& context, const NodeView& node) {
  const std::string folder = socket_folder(context, node);
  if (!folder.empty()) {
    const int fd = connect_unix_socket(folder, node.port);
    if (fd >= 0 && is_owners(fd, folder)) return {fd, folder};
    if (fd >= 0) close(fd);
    // Another machine's, one of the release before, or one that is down, as its port will say.
    if (fd != -ENOENT && fd != -EACCES && fd != -ECONNREFUSED) throw Disconnected{};
  }
  return {connect_socket(node.address, node.port), node.address};
}

// The answer to an authentication request, or nothing when the node is satisfied. A node that asks
// for no proof could be anybody: `genuine` says that it gave its own.
std::string answer_of(ScramClient& scram, std::string_view body, bool& genuine) {
  Reader reader(body);
  switch (reader.uint32()) {
    case kAuthenticated:
      if (!genuine) break;
      return {};
    case kSasl: {
      bool offered = false;
      for (auto name = reader.text(); !name.empty(); name = reader.text()) {
        offered = offered || name == kScram;
      }
      if (!offered) break;
      std::string initial(kScram);
      initial.push_back('\0');
      const std::string first = scram.first();
      put_uint32(initial, static_cast<uint32_t>(first.size()));
      return message('p', initial + first);
    }
    case kSaslContinue: {
      const auto last = scram.final(reader.rest());
      if (!last) break;
      return message('p', *last);
    }
    case kSaslFinal:
      genuine = scram.is_genuine(reader.rest());
      if (!genuine) break;
      return {};
    default:
      break;
  }
  throw refused({"08006", "the server asked for an authentication that cannot be given"});
}

}  // namespace

LoginKeys::~LoginKeys() {
  for (auto* key : {&client_key, &stored_key, &server_key}) {
    OPENSSL_cleanse(key->data(), key->size());
  }
}

int connect_socket(const std::string& address, uint16_t port) {
  if (is_folder(address)) {
    const int fd = connect_unix_socket(address, port);
    if (fd < 0) throw Disconnected{};
    return fd;
  }
  sockaddr_storage storage{};
  socklen_t size = 0;
  auto* ip4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* ip6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, address.c_str(), &ip4->sin_addr) == 1) {
    ip4->sin_family = AF_INET;
    ip4->sin_port = htons(port);
    size = sizeof *ip4;
  } else if (inet_pton(AF_INET6, address.c_str(), &ip6->sin6_addr) == 1) {
    ip6->sin6_family = AF_INET6;
    ip6->sin6_port = htons(port);
    size = sizeof *ip6;
  } else {
    throw Disconnected{};
  }
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw Disconnected{};
  const auto set = [fd](int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A host that dies says nothing: the session's end is known within 11 s all the same.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10'000);
  if (connect(fd, reinterpret_cast<sockaddr*>(&storage), size) != 0 && errno != EINPROGRESS) {
    close(fd);
    throw Disconnected{};
  }
  return fd;
}

Task<NodeSession> log_into_node(Stream& stream, const ProxyContext& context, const NodeView& node,
                                const LoginKeys& keys, const std::string& startup,
                                SteadyTime deadline) {
  const NodeWay way = way_to(context, node);
  stream.open(way.fd, EPOLLIN | EPOLLRDHUP);
  const bool local = is_folder(way.address);
  const bool remote = !local && !way.address.starts_with("127.");
  if (context.node_tls && !local && (remote || context.options.node_tls)) {
    co_await begin_tls(stream, context, node, deadline);
  } else if (remote) {
    throw Disconnected{};
  }
  co_await stream.send(startup, deadline);
  ScramClient scram(keys.client_key, keys.stored_key, keys.server_key,
                    base64(runtime::random_bytes(18)));
  Incoming incoming;
  NodeSession out;
  out.address = way.address;
  bool genuine = false;
  bool let_in = false;
  while (true) {
    const Incoming::Message got = co_await incoming.next(stream, kMostReport, deadline);
    switch (got.type) {
      case 'R': {
        let_in = true;
        const std::string answer = answer_of(scram, got.body, genuine);
        if (!answer.empty()) co_await stream.send(answer, deadline);
        break;
      }
      case 'E':
        throw refused(got.body, let_in);
      case 'K': {
        Reader reader(got.body);
        out.pid = reader.uint32();
        out.secret = reader.uint32();
        break;
      }
      case 'Z':
        if (!incoming.bytes.empty() || !genuine) throw Malformed{};
        co_return out;
      case 'S':
      case 'N':
        out.parameters += message(got.type, got.body);
        break;
      case 'v':
        break;
      default:
        throw Malformed{};
    }
  }
}

}  // namespace trunkline::proxy
