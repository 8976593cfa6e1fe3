#include "agent/domain/control_file.h"

#include <array>
#include <cstring>

namespace trunkline::agent {
namespace {

constexpr size_t kSmallestControl = 64;
constexpr uint16_t kLongHeaderFlag = 0x0002;
constexpr size_t kWalIdentifierAt = 24;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}
constexpr auto kCrcTable = make_crc_table();

uint32_t crc_step(uint32_t crc, char c) {
  return kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF] ^ (crc >> 8);
}

template <class T>
T read_at(std::string_view data, size_t at) {
  T value;
  std::memcpy(&value, data.data() + at, sizeof value);
  return value;
}

}  // namespace

uint32_t crc32c(std::string_view data) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : data) crc = crc_step(crc, c);
  return crc ^ 0xFFFFFFFFu;
}

std::optional<size_t> control_crc_offset(std::string_view control) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t at = 0; at + 4 <= control.size(); ++at) {
    if (at >= kSmallestControl && at % 4 == 0 &&
        read_at<uint32_t>(control, at) == (crc ^ 0xFFFFFFFFu)) {
      return at;
    }
    crc = crc_step(crc, control[at]);
  }
  return std::nullopt;
}

std::optional<uint64_t> control_system_identifier(std::string_view control) {
  if (!control_crc_offset(control)) return std::nullopt;
  return read_at<uint64_t>(control, 0);
}

bool patch_control_file(std::string& control, uint64_t system_identifier) {
  const auto offset = control_crc_offset(control);
  if (!offset) return false;
  std::memcpy(control.data(), &system_identifier, sizeof system_identifier);
  const uint32_t crc = crc32c(std::string_view(control).substr(0, *offset));
  std::memcpy(control.data() + *offset, &crc, sizeof crc);
  return true;
}

bool patch_wal_header(std::string& page, uint64_t from, uint64_t to) {
  if (page.size() < kWalIdentifierAt + 16) return false;
  const auto info = read_at<uint16_t>(page, 2);
  if ((info & kLongHeaderFlag) == 0) return false;
  if (read_at<uint64_t>(page, kWalIdentifierAt) != from) return false;
  std::memcpy(page.data() + kWalIdentifierAt, &to, sizeof to);
  return true;
}

uint64_t make_system_identifier(int64_t unix_us, uint32_t random) {
  const auto seconds = static_cast<uint64_t>(unix_us / 1'000'000);
  const auto us = static_cast<uint64_t>(unix_us % 1'000'000);
  return (seconds << 32) | (us << 12) | (random & 0xFFF);
}

}  // namespace trunkline::agent
