// What all sessions of a proxy share. Thread-safe.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "proxy/domain/newcomers.h"
#include "proxy/domain/pool_files.h"
#include "proxy/domain/shares.h"
#include "proxy/io/endpoints.h"
#include "proxy/io/pools.h"
#include "proxy/io/tls.h"
#include "proxy/io/traffic_meter.h"

namespace trunkline::proxy {

struct ProxyOptions {
  std::string listen_address;        // of the endpoints
  uint16_t port = 0;                 // shared by all endpoints; 0: none
  std::string tls_certificate_file;  // empty: no TLS for clients
  std::string tls_key_file;
  bool node_tls = false;             // also to nodes on a loopback address
  std::string node_ca_file;          // without it only nodes on a loopback address are served
  std::string node_certificate_file;  // shows nodes that a proxy comes; empty: none
  std::string node_key_file;
  std::string node_sockets;           // <host>/<node id>/ in it: those of this machine; empty: none
  std::string mock_secret;           // for salts of users that are not there
  std::string traffic_file;          // empty: what is counted ends with the process
  std::optional<uint16_t> pooled_port;  // shared by all endpoints' pools; 0: any; nothing: none
  PoolOptions pools;
  unsigned threads = 0;              // 0: one for two processors
  uint64_t most_connections = 20'000;  // at most what descriptors allow
  uint64_t most_waiting = 2'000;     // for a primary
  NewcomerLimits newcomers;          // at most what leaves three quarters of the connections
  std::chrono::milliseconds startup_time{10'000};
  std::chrono::milliseconds login_time{15'000};
  std::chrono::milliseconds wait_when_down{10'000};
  std::chrono::milliseconds wait_on_hold{15'000};
  std::chrono::milliseconds carry_time{20'000};
};

// What a pooled client is waiting for, for who cancels it: PgBouncer forgets a request that comes
// while the client has no server yet.
struct CancelWatch {
  std::atomic<uint64_t> flight = 0;       // another number for each; odd: it is under way
  std::atomic<bool> is_repeating = false;  // somebody sends it again until the flight is over
};

// Where a cancel request goes on to.
struct CancelTarget {
  std::string address;
  uint16_t port = 0;
  uint32_t pid = 0;
  uint32_t secret = 0;
  std::shared_ptr<CancelWatch> watch;  // of a pooled client
};

class CancelKeys {
 public:
  struct Key {
    uint32_t pid = 0;
    uint32_t secret = 0;
  };
  Key add(CancelTarget target);
  void change(const Key& key, CancelTarget target);
  void remove(const Key& key);
  std::optional<CancelTarget> find(const Key& key) const;

 private:
  static uint64_t packed(const Key& key) { return uint64_t{key.pid} << 32 | key.secret; }
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, CancelTarget> targets_;
};

struct ProxyContext;

// One newcomer's place, until it is reset or destroyed.
class NewcomerPlace {
 public:
  NewcomerPlace() = default;
  NewcomerPlace(ProxyContext& context, PeerAddress address)
      : context_(&context), address_(address) {}
  NewcomerPlace(NewcomerPlace&& other) noexcept
      : context_(std::exchange(other.context_, nullptr)), address_(other.address_) {}
  NewcomerPlace& operator=(NewcomerPlace&& other) noexcept;
  ~NewcomerPlace() { reset(); }
  void reset();

 private:
  ProxyContext* context_ = nullptr;
  PeerAddress address_ = 0;
};

// One instance's place among those that all share, until it is reset or destroyed.
class SharedPlace {
 public:
  SharedPlace() = default;
  SharedPlace(SharedPlace&& other) noexcept
      : context_(std::exchange(other.context_, nullptr)),
        shares_(other.shares_),
        who_(other.who_) {}
  SharedPlace& operator=(SharedPlace&& other) noexcept;
  ~SharedPlace() { reset(); }
  void reset();
  explicit operator bool() const { return context_ != nullptr; }

 private:
  friend struct ProxyContext;
  SharedPlace(ProxyContext& context, Shares& shares, InstanceId who)
      : context_(&context), shares_(&shares), who_(std::move(who)) {}
  ProxyContext* context_ = nullptr;
  Shares* shares_ = nullptr;
  InstanceId who_;
};

struct ProxyContext {
  explicit ProxyContext(ProxyOptions chosen);
  const ProxyOptions options;
  const uint64_t most_connections;  // also what descriptors allow
  EndpointTable endpoints;
  TrafficMeter traffic;
  Pools* pools = nullptr;  // if there is a pooled port
  const std::string pool_reset = proxy::pool_reset();  // a message that only pools send
  CancelKeys cancel_keys;
  TlsContext client_tls;  // null: none
  TlsContext node_tls;    // null: none
  std::string certificate_hash;
  // Takes a place for `who`; none: it has its share, which `share` then is.
  SharedPlace take(Shares& of, const InstanceId& who, uint64_t* share);
  std::mutex shares_mutex;
  Shares session_shares;  // what newcomers leave
  Shares waiting_shares;
  std::mutex newcomers_mutex;
  Newcomers newcomers;
  std::atomic<uint64_t> connections = 0;
  std::atomic<uint64_t> waiting = 0;
  std::atomic<uint64_t> carried = 0;        // sessions that got another server
  std::atomic<uint64_t> ended_tied = 0;     // that could not get another, and ended with the reason
  std::atomic<uint64_t> commits_in_doubt = 0;
};

}  // namespace trunkline::proxy
