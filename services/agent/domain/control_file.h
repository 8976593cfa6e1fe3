// The system identifier of a PostgreSQL data directory, on buffers: global/pg_control and the first
// page of each WAL segment hold it. Copies of one template each get their own, so that a standby
// can never follow another instance. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace trunkline::agent {

uint32_t crc32c(std::string_view data);

// Where pg_control keeps the checksum of all bytes before it. It differs between PostgreSQL's
// versions, so it is found by trying; nothing if no place fits (a damaged file).
std::optional<size_t> control_crc_offset(std::string_view control);

std::optional<uint64_t> control_system_identifier(std::string_view control);
// Replaces the identifier and makes the checksum right. False if the file is damaged.
bool patch_control_file(std::string& control, uint64_t system_identifier);

// Replaces the identifier in the long header of a WAL segment's first page (at least 40 bytes).
// False if that is no such header, or it belongs to another cluster than `from`.
bool patch_wal_header(std::string& page, uint64_t from, uint64_t to);

// As initdb makes it: seconds, microseconds and something of one's own.
uint64_t make_system_identifier(int64_t unix_us, uint32_t random);

}  // namespace trunkline::agent
