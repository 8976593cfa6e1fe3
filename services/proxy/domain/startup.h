// The first packet of a connection, and which endpoint it asks for. Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "proxy/domain/wire.h"

namespace trunkline::proxy {

inline constexpr size_t kMaxStartupBytes = 10'000;  // PostgreSQL's MAX_STARTUP_PACKET_LENGTH

enum class EndpointKind { read_write, read_only };

struct EndpointName {
  InstanceId instance;
  EndpointKind kind = EndpointKind::read_write;
  bool operator==(const EndpointName&) const = default;
};

struct FirstPacket {
  enum class Kind { ssl, gss, cancel, startup, malformed };
  Kind kind = Kind::malformed;
  // cancel
  uint32_t cancel_pid = 0;
  uint32_t cancel_secret = 0;
  // startup
  uint16_t minor_version = 0;
  std::string user;
  std::string database;   // the user's name if none is given
  bool replication = false;
  std::vector<std::pair<std::string, std::string>> parameters;  // to pass on, in order
  std::vector<std::string> unknown_options;                     // _pq_.…: to be refused
  std::optional<EndpointName> endpoint;  // from `options`, taken out of them
  Refusal why;                           // malformed
};

// The length that a packet's first four bytes announce; nothing if it cannot be a first packet.
std::optional<size_t> first_packet_size(std::string_view four_bytes);

// `packet` is whole, with its length.
FirstPacket parse_first_packet(std::string_view packet);

// A reader's: its transactions are read-only unless it says otherwise in the session, on whatever
// server it is.
std::vector<std::pair<std::string, std::string>> reading_parameters(
    std::vector<std::pair<std::string, std::string>> parameters);
// What the connections of one program share that must be led to one standby, since they share a
// snapshot (pg_dump -j); empty: they need not.
std::string company_of(const FirstPacket& packet);

// "<instance uuid>[-ro]", then nothing or a dot and anything.
std::optional<EndpointName> endpoint_of_server_name(std::string_view name);

// NegotiateProtocolVersion, where a client asks for more than 3.0; empty: nothing to negotiate.
std::string negotiation(const FirstPacket& packet);

// Takes `-c trunkline.endpoint=NAME` and `--trunkline.endpoint=NAME` out of start-up options.
struct SplitOptions {
  std::string rest;
  std::optional<EndpointName> endpoint;
  bool named = false;  // an endpoint was given, be it well-formed or not
};
SplitOptions split_options(std::string_view options);

}  // namespace trunkline::proxy
