#include "metering/io/webhook_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace trunkline::metering {
namespace {

constexpr size_t kMappedAt = 12;  // where IPv4 begins in ::ffff:a.b.c.d

IpBytes mapped(const in_addr& address) {
  IpBytes out{};
  out[kMappedAt - 2] = out[kMappedAt - 1] = 0xff;
  std::memcpy(out.data() + kMappedAt, &address, sizeof address);
  return out;
}

IpRange range_from(const std::string& entry) {
  const size_t slash = entry.find('/');
  const std::string host = entry.substr(0, slash);
  const auto first = ip_from(host);
  const int all = host.find(':') == std::string::npos ? 32 : 128;
  int bits = all;
  bool good = first.has_value();
  if (slash != std::string::npos) {
    const char* end = entry.data() + entry.size();
    const auto [stopped, error] = std::from_chars(entry.data() + slash + 1, end, bits);
    good = good && error == std::errc() && stopped == end && bits >= 0 && bits <= all;
  }
  if (!good) {
    throw std::runtime_error("config: webhook_allow: '" + entry +
                             "' is neither an address nor a range like 10.0.0.0/8");
  }
  return {*first, 128 - all + bits};
}

}  // namespace

std::optional<IpBytes> ip_from(const std::string& text) {
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return mapped(v4);
  IpBytes v6{};
  if (inet_pton(AF_INET6, text.c_str(), v6.data()) == 1) return v6;
  return std::nullopt;
}

std::optional<IpBytes> ip_from(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    return mapped(v4.sin_addr);
  }
  if (address.sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof v6);
  IpBytes out{};
  std::memcpy(out.data(), &v6.sin6_addr, out.size());
  return out;
}

std::string ip_text(const IpBytes& address) {
  char text[INET6_ADDRSTRLEN] = "";
  const bool v4 = is_in(address, {mapped({}), 96});
  inet_ntop(v4 ? AF_INET : AF_INET6, address.data() + (v4 ? kMappedAt : 0), text, sizeof text);
  return text;
}

std::vector<IpRange> ip_ranges(const std::vector<std::string>& entries) {
  std::vector<IpRange> out;
  std::ranges::transform(entries, std::back_inserter(out), range_from);
  return out;
}

bool may_reach_host(std::string_view host, const std::vector<IpRange>& allowed) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  const auto address = ip_from(std::string(host));
  return !address || may_reach(*address, allowed);
}

}  // namespace trunkline::metering
