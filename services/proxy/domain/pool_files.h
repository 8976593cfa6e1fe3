// What the PgBouncer of an endpoint is told: its configuration and its users, from a route. Pure;
// thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/domain/wire.h"

namespace trunkline::proxy {

// Of the sockets in a pool's folder (".s.PGSQL.<port>"): where PgBouncer listens, and where the
// proxy does for it.
inline constexpr uint16_t kPoolClientPort = 6432;
inline constexpr uint16_t kPoolServerPort = 5432;

// PgBouncer's own console; it lets its own system user in without a proof.
inline constexpr std::string_view kPoolConsole = "pgbouncer";

struct PoolLimits {
  uint32_t clients = 0;       // of the pool, at most
  uint32_t servers = 0;       // connections to the instance, at most; the rest is for direct ones
  uint32_t servers_each = 0;  // of them for one user in one database
};
// `connections` as in a route; 0: no limit.
PoolLimits pool_limits(uint32_t connections);

std::string pool_config(std::string_view folder, const PoolLimits& limits);

// What PgBouncer sends to a server that a client gives back, as a message. What a client leaves
// behind must not be the next one's: a connection on which this fails is closed.
std::string pool_reset();

// A client's start-up parameters for its pool, as a packet; or why they cannot be honoured there.
struct PoolStartup {
  std::string packet;
  Refusal refusal;  // an empty sqlstate: none
};
PoolStartup pool_startup(const std::vector<std::pair<std::string, std::string>>& parameters);

// PgBouncer's auth_file. Users that it cannot hold are left out.
std::string pool_users(const std::map<std::string, std::string, std::less<>>& verifiers);

// How long to wait before another start, after `deaths` soon after each other.
std::chrono::milliseconds pool_restart_pause(unsigned deaths);

// Whether a line of PgBouncer's log says that something is wrong.
bool is_pool_complaint(std::string_view line);

}  // namespace trunkline::proxy
