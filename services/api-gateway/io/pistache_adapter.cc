// The only file that includes Pistache. Its reactor, transport and peers carry the connections;
// reading HTTP is ours (docs/adr/0040-http-grammar-of-our-own.md says why, with measurements).
//
// Threads: every Worker lives on one Pistache thread. What comes from elsewhere (replies) goes
// through its Mailbox; Pistache's own queues are not used: they can lose a wake-up between threads,
// and its writer spins on a client that does not read.
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pistache/net.h>
#include <pistache/peer.h>
#include <pistache/reactor.h>
#include <pistache/tcp.h>
#include <pistache/transport.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <ctime>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <unordered_map>

#include "api-gateway/io/addresses.h"
#include "api-gateway/io/connection.h"
#include "api-gateway/io/http_server.h"
#include "api-gateway/io/mailbox.h"

namespace trunkline::gateway {
namespace {

using Pistache::Polling::NotifyOn;
using Pistache::Polling::Tag;
using Clock = Connection::Clock;

constexpr int kTickMs = 500;

// As text, an IPv4 address that came over IPv6 as what it is.
std::string address_of(const sockaddr_storage& from, socklen_t size) {
  char host[NI_MAXHOST] = "";
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&from), size, host, sizeof host, nullptr, 0,
                    NI_NUMERICHOST) != 0) {
    return {};
  }
  std::string text(host);
  if (text.starts_with("::ffff:") && text.find('.') != std::string::npos) text.erase(0, 7);
  return text;
}

// What all workers share.
struct Shared {
  HttpServerOptions options;
  RequestHandler handler;
  Admission admission;
  Addresses addresses;
  UniqueFd listener;
  std::mutex reserve_mutex;
  UniqueFd reserve{::open("/dev/null", O_RDONLY | O_CLOEXEC)};  // given up to refuse politely
  std::vector<std::shared_ptr<Mailbox>> mailboxes;
  std::atomic<uint64_t> last_connection{0};
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> dropped{0};
  std::atomic<size_t> connections{0};
  std::atomic<size_t> unread_bytes{0};
  std::atomic<size_t> request_bytes{0};
};

class Worker;

// What Pistache's transport tells of its peers, passed on to the worker that owns them.
class PeerHandler : public Pistache::Tcp::Handler {
  PROTOTYPE_OF(Pistache::Tcp::Handler, PeerHandler)
 public:
  void onInput(const char* buffer, size_t size,
               const std::shared_ptr<Pistache::Tcp::Peer>& peer) override;
  void onDisconnection(const std::shared_ptr<Pistache::Tcp::Peer>& peer) override;
};

class Worker : public Pistache::Tcp::Transport {
 public:
  using Base = Pistache::Tcp::Transport;
  using PeerPtr = std::shared_ptr<Pistache::Tcp::Peer>;

  Worker(const std::shared_ptr<Pistache::Tcp::Handler>& handler, std::shared_ptr<Shared> shared)
      : Base(handler), handler_(handler), shared_(std::move(shared)) {}
  ~Worker() override {
    mailbox_->close();
    for (const auto& [fd, connection] : connections_) {
      leave(*connection);
      ::close(fd);
    }
  }

  std::shared_ptr<Pistache::Aio::Handler> clone() const override {
    return std::make_shared<Worker>(handler_->clone(), shared_);
  }

  void registerPoller(Pistache::Polling::Epoll& poller) override {
    Base::registerPoller(poller);
    timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    itimerspec every{};
    every.it_value.tv_nsec = every.it_interval.tv_nsec = kTickMs * 1'000'000L;
    ::timerfd_settime(timer_.get(), 0, &every, nullptr);
    for (const int fd : {timer_.get(), mailbox_->fd(), shared_->listener.get()}) {
      poller.addFd(fd, Pistache::Flags<NotifyOn>(NotifyOn::Read), Tag(static_cast<uint64_t>(fd)));
    }
    shared_->mailboxes.push_back(mailbox_);
  }

  // An exception out of here would end the process: Pistache's thread has nobody to catch it.
  void onReady(const Pistache::Aio::FdSet& fds) override {
    try {
      handle_ready(fds);
    } catch (const std::exception& e) {
      spdlog::error("http: {}", e.what());
    }
  }

  void receive(std::string_view bytes, const PeerPtr& peer);
  void forget(int fd);

 private:
  void handle_ready(const Pistache::Aio::FdSet& fds);
  void accept_some();
  void refuse_one();
  void read_mail();
  void tick();
  void serve(Connection& connection);
  void watch_unsent(Connection& connection);
  void drop(Connection& connection);
  void leave(Connection& connection);
  void ask_about(Connection& connection, const HttpRequest& head);
  bool count_request(Connection& connection, size_t now_bytes);
  void refuse(int fd, const Problem& problem);
  void count_unread(Connection& connection, size_t now_bytes);
  Connection* find(int fd);
  std::string_view date();

  const std::shared_ptr<Pistache::Tcp::Handler> handler_;
  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  UniqueFd timer_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  std::unordered_map<uint64_t, size_t> unread_;  // by connection id; absent: nothing
  std::unordered_map<uint64_t, size_t> requests_;  // the same, of requests that come
  std::string date_;
  time_t date_second_ = 0;
};

void PeerHandler::onInput(const char* buffer, size_t size,
                          const std::shared_ptr<Pistache::Tcp::Peer>& peer) {
  static_cast<Worker*>(transport())->receive({buffer, size}, peer);
}
void PeerHandler::onDisconnection(const std::shared_ptr<Pistache::Tcp::Peer>& peer) {
  static_cast<Worker*>(transport())->forget(peer->fd());
}

void Worker::handle_ready(const Pistache::Aio::FdSet& fds) {
  bool mail = false, time = false, newcomers = false;
  std::vector<Pistache::Polling::Event> rest;  // for the transport: what can be read
  std::vector<int> writable;
  for (const auto& entry : fds) {
    const auto fd = static_cast<int>(entry.getTag().value());
    if (fd == mailbox_->fd()) {
      mail = true;
    } else if (fd == timer_.get()) {
      time = true;
    } else if (fd == shared_->listener.get()) {
      newcomers = true;
    } else {
      if (entry.isWritable()) writable.push_back(fd);
      if (!entry.isReadable()) continue;
      Pistache::Polling::Event readable(entry.getTag());
      readable.flags.setFlag(NotifyOn::Read);
      rest.push_back(readable);
    }
  }
  for (const int fd : writable) {
    Connection* connection = find(fd);
    if (connection == nullptr) continue;
    connection->send_more(Clock::now());
    serve(*connection);
  }
  // The connections first: a descriptor that is closed below may be another's at once.
  if (!rest.empty()) Base::onReady(Pistache::Aio::FdSet(std::move(rest)));
  if (mail) read_mail();
  if (time) tick();
  if (newcomers) accept_some();
}

void Worker::accept_some() {
  for (int i = 0; i < 64; ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const int fd = ::accept4(shared_->listener.get(), reinterpret_cast<sockaddr*>(&from), &size,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE) refuse_one();
      return;
    }
    ++shared_->accepted;
    if (shared_->connections.load() >= shared_->options.connections) {
      refuse(fd, {503, "too_many_connections", "there are too many connections; come again"});
      continue;
    }
    std::string address = address_of(from, size);
    if (!shared_->addresses.enter(address, shared_->options)) {
      refuse(fd, {429, "too_many_connections", "this address has too many connections"});
      continue;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ++shared_->connections;
    connections_[fd] =
        std::make_unique<Connection>(fd, ++shared_->last_connection, std::move(address),
                                     shared_->options, bool(shared_->admission), Clock::now());
    // On this thread the transport takes it at once, not through its queue.
    handleNewPeer(Pistache::Tcp::Peer::Create(
        fd, Pistache::Address::fromUnix(reinterpret_cast<sockaddr*>(&from))));
  }
}

void Worker::refuse(int fd, const Problem& problem) {
  ++shared_->refused;
  const std::string answer =
      render({problem.code, "application/json", {{"Retry-After", "1"}}, to_json(problem)}, date(),
             false, false);
  ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::close(fd);
}

// Out of descriptors: a waiting client would keep the listener ready and spin the thread.
void Worker::refuse_one() {
  const std::lock_guard lock(shared_->reserve_mutex);
  shared_->reserve.reset(-1);
  const int fd = ::accept4(shared_->listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) ::close(fd);
  shared_->reserve.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ++shared_->refused;
}

void Worker::receive(std::string_view bytes, const PeerPtr& peer) {
  Connection* connection = find(peer->fd());
  if (connection == nullptr) return;
  if (!connection->receive(bytes, Clock::now())) {
    if (connection->overload(date(), Clock::now())) return serve(*connection);
    // Reading goes on in Pistache's loop: it must find an end of file, not a closed descriptor.
    ::shutdown(peer->fd(), SHUT_RDWR);
    return;
  }
  serve(*connection);
}

void Worker::ask_about(Connection& connection, const HttpRequest& head) {
  auto verdict = [mailbox = mailbox_, fd = connection.fd(),
                  id = connection.id()](std::optional<HttpResponse> refusal) {
    HttpResponse response;
    response.status = 0;
    if (refusal) response = std::move(*refusal);
    mailbox->post({fd, id, 0, std::move(response), Mailbox::Kind::admitted, nullptr});
  };
  try {
    HttpRequest asked = head;
    asked.peer = connection.peer();
    shared_->admission(asked, verdict);
  } catch (const std::exception& e) {
    spdlog::error("http: the admission failed: {}", e.what());
    verdict(HttpResponse{503, "application/json", {},
                         to_json({503, "unavailable", "the request was not admitted"})});
  }
}

void Worker::serve(Connection& connection) {
  while (auto request = connection.next_request(date(), Clock::now())) {
    auto reply = reply_through(mailbox_, connection.fd(), connection.id(), connection.serial(),
                               connection.left());
    std::vector<Mailbox::Letter> at_once;
    mailbox_->keep_at_hand(&at_once);
    try {
      shared_->handler(std::move(*request), std::move(reply));
    } catch (const std::exception& e) {
      spdlog::error("http: the handler failed: {}", e.what());
    }
    reply.reset();
    mailbox_->keep_at_hand(nullptr);
    for (auto& letter : at_once) {
      if (letter.connection == connection.id()) {
        connection.take(std::move(letter), date(), Clock::now());
      } else {
        mailbox_->post(std::move(letter));
      }
    }
  }
  if (const HttpRequest* head = connection.take_question()) ask_about(connection, *head);
  if (!count_request(connection, connection.unread_request_bytes())) {
    if (!connection.overload(date(), Clock::now())) ::shutdown(connection.fd(), SHUT_RDWR);
    count_request(connection, connection.unread_request_bytes());
  }
  watch_unsent(connection);
}

void Worker::read_mail() {
  for (auto& letter : mailbox_->take()) {
    Connection* connection = find(letter.fd);
    if (connection == nullptr || connection->id() != letter.connection) {
      if (letter.flow) letter.flow->gone = true;
      continue;
    }
    connection->take(std::move(letter), date(), Clock::now());
    serve(*connection);
  }
}

// Has epoll tell when the socket takes more of what is left, or that nothing is left.
void Worker::watch_unsent(Connection& connection) {
  const size_t left = connection.unsent_bytes();
  const bool watched = unread_.contains(connection.id());
  count_unread(connection, left);
  if (left > 0 && shared_->unread_bytes.load() > shared_->options.unread_response_bytes) {
    ++shared_->dropped;
    ::shutdown(connection.fd(), SHUT_RDWR);
    return;
  }
  if (left == 0 && !watched) return;
  const auto interest = left > 0 ? NotifyOn::Read | NotifyOn::Write | NotifyOn::Shutdown
                                 : NotifyOn::Read | NotifyOn::Shutdown;
  reactor()->modifyFd(key(), connection.fd(), interest, Pistache::Polling::Mode::Edge);
}

void Worker::tick() {
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t count = ::read(timer_.get(), &ignored, sizeof ignored);
  const auto now = Clock::now();
  std::vector<int> over;
  for (const auto& [fd, connection] : connections_) {
    if (connection->check_time(date(), now) == Connection::Verdict::give_up) over.push_back(fd);
  }
  for (const int fd : over) {
    Connection& connection = *connections_.at(fd);
    const auto phase = connection.phase();
    const bool unread = phase == Connection::Phase::writing || phase == Connection::Phase::pouring;
    if (unread) ++shared_->dropped;
    drop(connection);
  }
}

void Worker::drop(Connection& connection) {
  const int fd = connection.fd();
  const auto peer = peers.find(fd);
  forget(fd);
  if (peer != peers.end()) {
    const PeerPtr keep = peer->second;
    removePeer(keep);  // closes it
  }
}

void Worker::forget(int fd) {
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  leave(*found->second);
  connections_.erase(found);
}

void Worker::leave(Connection& connection) {
  count_unread(connection, 0);
  count_request(connection, 0);
  shared_->addresses.leave(connection.peer());
  --shared_->connections;
}

// False: the client, or all of them, hold more than they may.
bool Worker::count_request(Connection& connection, size_t now_bytes) {
  const auto found = requests_.find(connection.id());
  const size_t before = found == requests_.end() ? 0 : found->second;
  if (before == now_bytes) return true;
  const size_t all = shared_->request_bytes += now_bytes - before;
  if (now_bytes == 0) {
    requests_.erase(found);
  } else {
    requests_[connection.id()] = now_bytes;
  }
  const bool fair = shared_->addresses.change_bytes(
      connection.peer(), before, now_bytes, shared_->options.unread_request_bytes_per_address);
  return fair && (now_bytes <= before || all <= shared_->options.unread_request_bytes);
}

void Worker::count_unread(Connection& connection, size_t now_bytes) {
  const auto found = unread_.find(connection.id());
  const size_t before = found == unread_.end() ? 0 : found->second;
  if (before == now_bytes) return;
  shared_->unread_bytes += now_bytes - before;
  if (now_bytes == 0) {
    unread_.erase(found);
  } else {
    unread_[connection.id()] = now_bytes;
  }
}

Connection* Worker::find(int fd) {
  const auto found = connections_.find(fd);
  return found == connections_.end() ? nullptr : found->second.get();
}

std::string_view Worker::date() {
  const time_t now = ::time(nullptr);
  if (now != date_second_) {
    tm utc{};
    ::gmtime_r(&now, &utc);
    char text[64];
    ::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    date_ = text;
    date_second_ = now;
  }
  return date_;
}

// ---- server ----------------------------------------------------------------------------------

void listen_on(const HttpServerOptions& options, UniqueFd* listener) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(options.port);
  if (::getaddrinfo(options.address.c_str(), port.c_str(), &hints, &found) != 0) {
    throw std::runtime_error("listen: '" + options.address + "' is no IP address");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, ::freeaddrinfo);
  listener->reset(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(listener->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(listener->get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(listener->get(), 1024) != 0) {
    throw std::runtime_error("listen on " + options.address + ":" + port + ": " + strerror(errno));
  }
}

// As many descriptors as may be had; the connections that fit beside everything else.
size_t fit_descriptors(size_t wanted) {
  constexpr rlim_t kMost = 65536;
  constexpr rlim_t kOthers = 256;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::min<size_t>(wanted, 512);
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kMost));
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t room = limit.rlim_cur > 2 * kOthers ? limit.rlim_cur - kOthers : limit.rlim_cur / 2;
  return std::min<size_t>(wanted, room);
}

class PistacheServer : public HttpServer {
 public:
  PistacheServer(const HttpServerOptions& options, RequestHandler handler, Admission admission) {
    shared_->options = options;
    shared_->options.connections = fit_descriptors(options.connections);
    shared_->handler = std::move(handler);
    shared_->admission = std::move(admission);
    listen_on(options, &shared_->listener);
    reactor_ = Pistache::Aio::Reactor::create();
    reactor_->init(Pistache::Aio::AsyncContext(static_cast<size_t>(options.threads), "http"));
    reactor_->addHandler(std::make_shared<Worker>(std::make_shared<PeerHandler>(), shared_));
    reactor_->run();
  }
  ~PistacheServer() override {
    for (const auto& mailbox : shared_->mailboxes) mailbox->close();
    reactor_->shutdown();
    reactor_.reset();
  }
  uint16_t port() const override {
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    ::getsockname(shared_->listener.get(), reinterpret_cast<sockaddr*>(&bound), &size);
    return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  }
  Figures figures() const override {
    return {shared_->accepted, shared_->refused, shared_->dropped, shared_->connections,
            shared_->unread_bytes, shared_->request_bytes};
  }

 private:
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::shared_ptr<Pistache::Aio::Reactor> reactor_;
};

}  // namespace

std::unique_ptr<HttpServer> HttpServer::start(const HttpServerOptions& options,
                                              RequestHandler handler, Admission admission) {
  return std::make_unique<PistacheServer>(options, std::move(handler), std::move(admission));
}

}  // namespace trunkline::gateway
