#include "proxy/domain/wire.h"

namespace trunkline::proxy {

uint32_t get_uint32(const char* at) {
  const auto* byte = reinterpret_cast<const unsigned char*>(at);
  return static_cast<uint32_t>(byte[0]) << 24 | static_cast<uint32_t>(byte[1]) << 16 |
         static_cast<uint32_t>(byte[2]) << 8 | byte[3];
}

void put_uint32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

std::string message(char type, std::string_view body) {
  std::string out(1, type);
  out.reserve(kHeader + body.size());
  put_uint32(out, static_cast<uint32_t>(body.size() + 4));
  out += body;
  return out;
}

namespace {

std::string report(const char* severity, const Refusal& refusal) {
  std::string body;
  const auto field = [&body](char code, std::string_view value) {
    body.push_back(code);
    body += value;
    body.push_back('\0');
  };
  field('S', severity);
  field('V', severity);
  field('C', refusal.sqlstate);
  field('M', refusal.text);
  body.push_back('\0');
  return message('E', body);
}

}  // namespace

std::string fatal(const Refusal& refusal) { return report("FATAL", refusal); }

std::string error_report(const Refusal& refusal) { return report("ERROR", refusal); }

std::string authentication(uint32_t code, std::string_view data) {
  std::string body;
  put_uint32(body, code);
  body += data;
  return message('R', body);
}

std::string backend_key(uint32_t pid, uint32_t secret) {
  std::string body;
  put_uint32(body, pid);
  put_uint32(body, secret);
  return message('K', body);
}

std::string cancel_request(uint32_t pid, uint32_t secret) {
  std::string out;
  put_uint32(out, 16);
  put_uint32(out, kCancelRequest);
  put_uint32(out, pid);
  put_uint32(out, secret);
  return out;
}

std::string ssl_request() {
  std::string out;
  put_uint32(out, 8);
  put_uint32(out, kSslRequest);
  return out;
}

std::string startup_packet(const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string body;
  put_uint32(body, 3 << 16);
  for (const auto& [name, value] : parameters) {
    body += name;
    body.push_back('\0');
    body += value;
    body.push_back('\0');
  }
  body.push_back('\0');
  std::string out;
  put_uint32(out, static_cast<uint32_t>(body.size() + 4));
  return out + body;
}

std::string simple_query(std::string_view sql) {
  std::string body(sql);
  body.push_back('\0');
  return message('Q', body);
}

std::string parse_message(std::string_view name, std::string_view sql,
                          const std::vector<uint32_t>& types) {
  std::string body(name);
  body.push_back('\0');
  body += sql;
  body.push_back('\0');
  body.push_back(static_cast<char>(types.size() >> 8));
  body.push_back(static_cast<char>(types.size()));
  for (const uint32_t type : types) put_uint32(body, type);
  return message('P', body);
}

std::string bind_message(std::string_view statement, const std::vector<std::string>& parameters) {
  std::string body(1, '\0');  // the portal
  body += statement;
  body.append(3, '\0');  // and no formats of parameters
  body.push_back(static_cast<char>(parameters.size() >> 8));
  body.push_back(static_cast<char>(parameters.size()));
  for (const auto& parameter : parameters) {
    put_uint32(body, static_cast<uint32_t>(parameter.size()));
    body += parameter;
  }
  body.append(2, '\0');  // no formats of results
  return message('B', body);
}

std::string execute_message() { return message('E', std::string(5, '\0')); }

std::string close_statement(std::string_view name) {
  std::string body = "S";
  body += name;
  body.push_back('\0');
  return message('C', body);
}

std::string sync_message() { return message('S', {}); }

std::string_view report_field(std::string_view body, char code) {
  Reader reader(body);
  while (reader.ok()) {
    const std::string_view type = reader.bytes(1);
    if (type.empty() || type[0] == '\0') break;
    const std::string_view value = reader.text();
    if (type[0] == code) return value;
  }
  return {};
}

std::optional<std::vector<std::string>> row_columns(std::string_view body) {
  Reader reader(body);
  std::vector<std::string> out(reader.uint16());
  for (auto& column : out) {
    const uint32_t size = reader.uint32();
    if (size != UINT32_MAX) column = reader.bytes(size);
    if (!reader.ok()) return std::nullopt;
  }
  return out;
}

uint32_t Reader::uint32() {
  const std::string_view found = bytes(4);
  return found.empty() ? 0 : get_uint32(found.data());
}

uint16_t Reader::uint16() {
  const std::string_view found = bytes(2);
  if (found.empty()) return 0;
  return static_cast<uint16_t>(static_cast<unsigned char>(found[0]) << 8 |
                               static_cast<unsigned char>(found[1]));
}

std::string_view Reader::text() {
  const size_t end = rest_.find('\0');
  if (end == std::string_view::npos) {
    ok_ = false;
    rest_ = {};
    return {};
  }
  const std::string_view out = rest_.substr(0, end);
  rest_.remove_prefix(end + 1);
  return out;
}

std::string_view Reader::bytes(size_t count) {
  if (count > rest_.size()) {
    ok_ = false;
    rest_ = {};
    return {};
  }
  const std::string_view out = rest_.substr(0, count);
  rest_.remove_prefix(count);
  return out;
}

}  // namespace trunkline::proxy
