#include "proxy/domain/pool_files.h"

#include <algorithm>

#include "proxy/domain/scram.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kMostUserBytes = 63;  // PostgreSQL's NAMEDATALEN - 1
constexpr uint32_t kUnlimitedServers = 100;
constexpr uint32_t kMostServersEach = 100;

std::string quoted(std::string_view text, char quote) {
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote) out += quote;
    out += c;
  }
  return out + quote;
}

bool fits(std::string_view user) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; };
  return !user.empty() && user.size() <= kMostUserBytes &&
         std::none_of(user.begin(), user.end(), is_control);
}

}  // namespace

PoolLimits pool_limits(uint32_t connections) {
  if (connections == 0) connections = kUnlimitedServers;
  PoolLimits out;
  out.clients = std::clamp<uint32_t>(connections * 10, 200, 5000);
  out.servers = std::max<uint32_t>(connections - connections / 4, 1);
  out.servers_each = std::clamp<uint32_t>(connections / 2, 1, kMostServersEach);
  return out;
}

// Clients wait rather than fail: for a switchover's length, and for a failover's. A login that
// failed is tried again soon, because the proxy behind it waits for a primary anyway.
std::string pool_config(std::string_view folder, const PoolLimits& limits) {
  const std::string at(folder);
  std::string out = "; Written by trunkline-proxy at every change.\n[databases]\n";
  out += "* = host=" + quoted(folder, '\'') + " port=" + std::to_string(kPoolServerPort) + "\n";
  out += "[pgbouncer]\nunix_socket_dir = " + at + "\nunix_socket_mode = 0700\n";
  out += "listen_port = " + std::to_string(kPoolClientPort) + "\n";
  out += "auth_type = scram-sha-256\nauth_file = " + at + "/users.txt\n";
  out +=
      "admin_users =\n"
      "stats_users =\n"
      "pool_mode = transaction\n";
  // The proxy counts clients; one that has gone may still have its place here for a moment.
  out += "max_client_conn = " + std::to_string(limits.clients + 100) + "\n";
  out += "default_pool_size = " + std::to_string(limits.servers_each) + "\n";
  out += "max_db_connections = " + std::to_string(limits.servers) + "\n";
  out += "max_user_connections = " + std::to_string(limits.servers) + "\n";
  out +=
      "ignore_startup_parameters = extra_float_digits, options\n"
      "server_tls_sslmode = disable\n"
      "server_connect_timeout = 30\n"
      "server_login_retry = 0.2\n"
      "server_idle_timeout = 60\n"
      "query_wait_timeout = 60\n"
      "autodb_idle_timeout = 600\n"
      "log_connections = 0\n"
      "log_disconnections = 0\n"
      "log_pooler_errors = 0\n"
      "log_stats = 0\n";
  return out;
}

std::string pool_users(const std::map<std::string, std::string, std::less<>>& verifiers) {
  std::string out;
  for (const auto& [user, verifier] : verifiers) {
    if (!fits(user) || !parse_verifier(verifier)) continue;
    out += quoted(user, '"') + " " + quoted(verifier, '"') + "\n";
  }
  return out;
}

std::chrono::milliseconds pool_restart_pause(unsigned deaths) {
  if (deaths < 2) return {};
  return std::chrono::milliseconds(std::min(100u << std::min(deaths - 1, 10u), 10'000u));
}

bool is_pool_complaint(std::string_view line) {
  for (const char* level : {" WARNING ", " ERROR ", " FATAL "}) {
    if (line.find(level) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace trunkline::proxy
