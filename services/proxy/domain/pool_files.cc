#include "proxy/domain/pool_files.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "proxy/domain/scram.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kMostUserBytes = 63;  // PostgreSQL's NAMEDATALEN - 1
constexpr uint32_t kUnlimitedServers = 100;
constexpr uint32_t kMostServersEach = 100;
// The comment tells it from a client's.
constexpr std::string_view kReset = "DISCARD ALL -- by the pool";
constexpr size_t kMostValueBytes = 255;
constexpr size_t kMostNameBytes = 63;  // the server cuts an application's name, too

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

std::string in_lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return out;
}

// Those that PgBouncer carries from server to server.
bool is_followed(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames{"client_encoding", "datestyle", "timezone",
                                                   "standard_conforming_strings"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// All values above 0 show numbers alike, and 1 is the default.
bool is_like_the_default(std::string_view float_digits) {
  int value = 0;
  const auto [end, error] =
      std::from_chars(float_digits.data(), float_digits.data() + float_digits.size(), value);
  return error == std::errc() && end == float_digits.data() + float_digits.size() && value > 0;
}

}  // namespace

std::string pool_reset() { return simple_query(kReset); }

PoolStartup pool_startup(const std::vector<std::pair<std::string, std::string>>& parameters) {
  PoolStartup out;
  std::vector<std::pair<std::string, std::string>> passed;
  for (const auto& [written, value] : parameters) {
    const std::string name = in_lower_case(written);
    if (name == "user" || name == "database") {
      passed.emplace_back(name, value);
    } else if (name == "application_name") {
      passed.emplace_back(name, value.substr(0, kMostNameBytes));
    } else if (is_followed(name)) {
      passed.emplace_back(name, value);
      if (value.size() > kMostValueBytes) {
        out.refusal = {"22023", "invalid value for parameter \"" + name + "\": it is longer than " +
                                    std::to_string(kMostValueBytes) + " bytes"};
      }
    } else if (name != "extra_float_digits" || !is_like_the_default(value)) {
      const std::string what = name == "options" ? "start-up options \"" + value + "\""
                                                 : "start-up parameter \"" + written + "\"";
      out.refusal = {"0A000", what + " cannot be set at the pooled port, where sessions share "
                                     "servers: ALTER ROLE or ALTER DATABASE ... SET does it, or "
                                     "use the endpoint's own port"};
    }
  }
  out.packet = startup_packet(passed);
  return out;
}

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
      "pool_mode = transaction\n"
      "server_reset_query_always = 1\n";
  out += "server_reset_query = " + std::string(kReset) + "\n";
  // The proxy counts clients; one that has gone may still have its place here for a moment.
  out += "max_client_conn = " + std::to_string(limits.clients + 100) + "\n";
  out += "default_pool_size = " + std::to_string(limits.servers_each) + "\n";
  out += "max_db_connections = " + std::to_string(limits.servers) + "\n";
  out += "max_user_connections = " + std::to_string(limits.servers) + "\n";
  out +=
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
