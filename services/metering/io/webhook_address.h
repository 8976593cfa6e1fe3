// Addresses of receivers as text and as sockets have them, for domain/reachable.h.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metering/domain/reachable.h"

namespace trunkline::metering {

// "192.0.2.7", "2001:db8::1"; nothing if the text is no address.
std::optional<IpBytes> ip_from(const std::string& text);
// Nothing if it is of another family.
std::optional<IpBytes> ip_from(const sockaddr& address);
std::string ip_text(const IpBytes& address);

// Of the configuration's webhook_allow: addresses, and ranges like 10.0.0.0/8. Throws
// std::runtime_error that names the entry which is none.
std::vector<IpRange> ip_ranges(const std::vector<std::string>& entries);

// The host of a URL, as far as its text tells: what a name leads to is seen at the connection.
bool may_reach_host(std::string_view host, const std::vector<IpRange>& allowed);

}  // namespace trunkline::metering
