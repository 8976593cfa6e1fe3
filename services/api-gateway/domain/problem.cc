#include "api-gateway/domain/problem.h"

#include <nlohmann/json.hpp>

namespace trunkline::gateway {

std::string to_json(const Problem& problem) {
  nlohmann::ordered_json out;
  out["type"] = problem.type;
  out["code"] = problem.code;
  out["message"] = problem.message;
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string shown(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string out;
  const bool cut = text.size() > kLongest;
  size_t end = std::min(text.size(), kLongest);
  while (cut && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  for (char c : text.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    out.push_back(byte < 0x20 || byte == 0x7f ? '?' : c);
  }
  if (cut) out += "...";
  return out;
}

}  // namespace trunkline::gateway
