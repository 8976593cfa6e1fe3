// A running proxy: its threads, its listeners, its sessions. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "proxy/io/worker.h"
#include "runtime/ticker.h"

namespace trunkline::proxy {

class ProxyServer {
 public:
  // Listens on the shared port when it returns; throws std::runtime_error if it cannot.
  explicit ProxyServer(ProxyOptions options);
  ~ProxyServer();
  ProxyServer(const ProxyServer&) = delete;
  ProxyServer& operator=(const ProxyServer&) = delete;

  ProxyContext& context() { return context_; }
  EndpointTable& endpoints() { return context_.endpoints; }
  uint16_t port() const { return port_; }  // the shared one, also if 0 was asked for

 private:
  struct Listener {
    ProxyServer* server = nullptr;
    int fd = -1;
    Watch watch;
    std::optional<EndpointName> endpoint;
  };
  void route_changed(const RouteView* before, const RouteView& now);
  void open_port(uint16_t port, const EndpointName& endpoint);
  void close_port(uint16_t port, const EndpointName& endpoint);
  int listen_on(uint16_t port) const;
  void add_listener(uint16_t port, int fd, std::optional<EndpointName> endpoint);
  static void on_acceptable(void* self, uint32_t events);
  bool take_newcomer(PeerAddress address);
  void accept_from(Listener& listener);
  void pause(Listener& listener);

  ProxyContext context_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<uint16_t, std::unique_ptr<Listener>> listeners_;  // of the first worker's thread
  uint16_t port_ = 0;
  std::vector<std::thread> threads_;
  runtime::Ticker settling_;
};

}  // namespace trunkline::proxy
