#include "proxy/io/proxy_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "proxy/domain/wire.h"
#include "proxy/io/session.h"

namespace trunkline::proxy {
namespace {

constexpr int kBacklog = 1024;
constexpr int kAcceptedARound = 64;
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::milliseconds kSettleEvery{500};
constexpr std::chrono::seconds kOpenAgain{5};

PeerAddress address_of(const sockaddr_storage& peer) {
  if (peer.ss_family != AF_INET) return 0;
  return ntohl(reinterpret_cast<const sockaddr_in&>(peer).sin_addr.s_addr);
}

void refuse(int fd, const Refusal& why) {
  const std::string words = fatal(why);
  const ssize_t ignored = send(fd, words.data(), words.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  static_cast<void>(ignored);
  close(fd);
}

bool is_loopback(const sockaddr_storage& peer) {
  if (peer.ss_family == AF_UNIX) return true;
  if (peer.ss_family == AF_INET) {
    const auto& ip4 = reinterpret_cast<const sockaddr_in&>(peer);
    return ntohl(ip4.sin_addr.s_addr) >> 24 == 127;
  }
  if (peer.ss_family != AF_INET6) return false;
  const auto& ip6 = reinterpret_cast<const sockaddr_in6&>(peer);
  return IN6_IS_ADDR_LOOPBACK(&ip6.sin6_addr);
}

void prepare_client_socket(int fd) {
  const int one = 1;
  const int idle_s = 60;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
}

}  // namespace

ProxyServer::ProxyServer(ProxyOptions options)
    : context_(std::move(options)), settling_(kSettleEvery, [this] { context_.traffic.settle(); }) {
  unsigned threads = context_.options.threads;
  // Every other processor is for those that are at the two ends: a thread more finds less to do at
  // each waking, and costs them more than it carries.
  if (threads == 0) threads = std::clamp((std::thread::hardware_concurrency() + 1) / 2, 1u, 64u);
  for (unsigned i = 0; i < threads; ++i) workers_.push_back(std::make_unique<Worker>(context_));
  port_ = listen_for_all(context_.options.port, Way::direct);
  if (context_.options.pooled_port) start_pools();
  context_.endpoints.on_change(
      [this](const RouteView* before, const RouteView& now) { route_changed(before, now); });
  for (auto& worker : workers_) {
    threads_.emplace_back([raw = worker.get()] { raw->loop.run(); });
  }
}

ProxyServer::~ProxyServer() {
  context_.endpoints.on_change({});
  for (auto& worker : workers_) worker->loop.stop();
  for (auto& thread : threads_) thread.join();
  if (pools_) pools_->stop();
  workers_.clear();  // their sessions have places in the pools
  for (auto& [port, listener] : listeners_) close(listener->fd);
  for (auto& [endpoint, listener] : pool_listeners_) close(listener->fd);
}

uint16_t ProxyServer::listen_for_all(uint16_t port, Way way) {
  const int fd = listen_on(port);
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size);
  port = ntohs(reinterpret_cast<sockaddr_in&>(own).sin_port);
  listeners_[port] = listener_on(fd, {way, std::nullopt});
  return port;
}

void ProxyServer::start_pools() {
  pooled_port_ = listen_for_all(*context_.options.pooled_port, Way::pooled);
  pools_ = std::make_unique<Pools>(
      context_.options.pools, context_.endpoints,
      [this](const EndpointName& name, int fd) {
        workers_[0]->loop.post([this, name, fd] {
          pool_listeners_[{name.instance, name.kind}] = listener_on(fd, {Way::from_pool, name});
        });
      },
      [this](const EndpointName& name) {
        workers_[0]->loop.post([this, name] {
          const auto found = pool_listeners_.find({name.instance, name.kind});
          if (found == pool_listeners_.end()) return;
          retire(std::move(found->second));
          pool_listeners_.erase(found);
        });
      });
  context_.pools = pools_.get();
}

int ProxyServer::listen_on(uint16_t port) const {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  const std::string& text = context_.options.listen_address;
  if (inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error("\"" + text + "\" is no address to listen on");
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, kBacklog) != 0) {
    const std::string why = std::strerror(errno);
    close(fd);
    throw std::runtime_error(text + ":" + std::to_string(port) + ": " + why);
  }
  return fd;
}

ProxyServer::ListenerPointer ProxyServer::listener_on(int fd, Entrance entrance) {
  auto listener = std::make_unique<Listener>();
  listener->server = this;
  listener->fd = fd;
  listener->watch = {&ProxyServer::on_acceptable, listener.get()};
  listener->entrance = std::move(entrance);
  workers_[0]->loop.add(fd, EPOLLIN, &listener->watch);
  return listener;
}

void ProxyServer::route_changed(const RouteView* before, const RouteView& now) {
  const bool gone = now.state == RouteView::State::gone;
  const auto move_port = [&](uint16_t old_port, uint16_t new_port, EndpointKind kind) {
    const EndpointName endpoint{now.instance, kind};
    if (gone) new_port = 0;
    if (old_port == new_port) return;
    workers_[0]->loop.post([this, old_port, new_port, endpoint] {
      if (old_port != 0) close_port(old_port, endpoint);
      if (new_port != 0) open_port(new_port, endpoint);
    });
  };
  const bool had = before != nullptr && before->state != RouteView::State::gone;
  move_port(had ? before->read_write_port : 0, now.read_write_port, EndpointKind::read_write);
  move_port(had ? before->read_only_port : 0, now.read_only_port, EndpointKind::read_only);
  if (context_.pools != nullptr) context_.pools->route_changed(now);
  for (auto& worker : workers_) {
    worker->loop.post([raw = worker.get(), instance = now.instance] {
      raw->route_changed(instance);
    });
  }
}

void ProxyServer::open_port(uint16_t port, const EndpointName& endpoint) {
  claims_[port].push_back(endpoint);
  serve_port(port);
}

void ProxyServer::close_port(uint16_t port, const EndpointName& endpoint) {
  std::erase(claims_[port], endpoint);
  serve_port(port);
}

// The newest claim is served: an older one is of an instance whose end was not heard yet.
void ProxyServer::serve_port(uint16_t port) {
  const auto found = listeners_.find(port);
  const auto claims = claims_.find(port);
  if (claims == claims_.end() || claims->second.empty()) {
    if (claims != claims_.end()) claims_.erase(claims);
    if (found == listeners_.end() || !found->second->entrance.endpoint) return;
    retire(std::move(found->second));
    listeners_.erase(found);
    return;
  }
  const EndpointName& endpoint = claims->second.back();
  try {
    if (found == listeners_.end()) {
      listeners_[port] = listener_on(listen_on(port), {Way::direct, endpoint});
    } else if (found->second->entrance.endpoint) {
      found->second->entrance.endpoint = endpoint;
    } else {
      throw std::runtime_error("port " + std::to_string(port) + " is shared by all endpoints");
    }
  } catch (const std::exception& error) {
    spdlog::error("an endpoint of instance {} is not open: {}", endpoint.instance.str(),
                  error.what());
    if (!open_again_.insert(port).second) return;
    workers_[0]->loop.at(std::chrono::steady_clock::now() + kOpenAgain, [this, port] {
      open_again_.erase(port);
      serve_port(port);
    });
  }
}

// An event of this round may still name it.
void ProxyServer::retire(ListenerPointer listener) {
  close(listener->fd);
  listener->fd = -1;
  workers_[0]->loop.defer([kept = std::shared_ptr<Listener>(std::move(listener))] {});
}

void ProxyServer::on_acceptable(void* self, uint32_t) {
  auto* listener = static_cast<Listener*>(self);
  if (listener->fd >= 0) listener->server->accept_from(*listener);
}

bool ProxyServer::take_newcomer(PeerAddress address) {
  const std::lock_guard lock(context_.newcomers_mutex);
  return context_.newcomers.come(address);
}

void ProxyServer::accept_from(Listener& listener) {
  for (int i = 0; i < kAcceptedARound; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const int fd = accept4(listener.fd, reinterpret_cast<sockaddr*>(&peer), &size,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        pause(listener);
      }
      return;
    }
    const PeerAddress address = address_of(peer);
    if (context_.connections.load() >= context_.most_connections) {
      refuse(fd, {"53300", "sorry, too many clients already"});
      continue;
    }
    const bool is_ours = listener.entrance.way == Way::from_pool;
    if (!is_ours && !take_newcomer(address)) {
      refuse(fd, {"53300", "too many connections are not authenticated yet"});
      continue;
    }
    context_.connections.fetch_add(1);
    prepare_client_socket(fd);
    Worker* least = workers_[0].get();
    for (auto& worker : workers_) {
      if (worker->load.load() < least->load.load()) least = worker.get();
    }
    least->load.fetch_add(1);
    const ClientPeer client{fd, is_loopback(peer), address};
    if (least == workers_[0].get()) {
      least->take(client, listener.entrance);
    } else {
      least->loop.post([least, client, by = listener.entrance] { least->take(client, by); });
    }
  }
}

// Without free descriptors the listener would be acceptable for ever.
void ProxyServer::pause(Listener& listener) {
  spdlog::warn("no descriptor is left for a client");
  Loop& loop = workers_[0]->loop;
  loop.change(listener.fd, 0, &listener.watch);
  loop.at(std::chrono::steady_clock::now() + kAcceptPause, [this] {
    for (auto& [port, paused] : listeners_) {
      workers_[0]->loop.change(paused->fd, EPOLLIN, &paused->watch);
    }
    for (auto& [endpoint, paused] : pool_listeners_) {
      workers_[0]->loop.change(paused->fd, EPOLLIN, &paused->watch);
    }
  });
}

}  // namespace trunkline::proxy
