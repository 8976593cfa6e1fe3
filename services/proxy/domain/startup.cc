#include "proxy/domain/startup.h"

#include <algorithm>

namespace trunkline::proxy {
namespace {

constexpr size_t kUuidSize = 36;
constexpr std::string_view kReadOnly = "-ro";
constexpr uint32_t kNewestProtocol = 3 << 16;
constexpr std::string_view kReadOnlyDefault = "default_transaction_read_only";
constexpr std::string_view kEndpointOption = "trunkline.endpoint=";

FirstPacket malformed(std::string text) {
  FirstPacket out;
  out.why = {"08P01", std::move(text)};
  return out;
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// One word of the options from `at` on, as it is written (backslashes kept).
std::string_view raw_word(std::string_view options, size_t& at) {
  while (at < options.size() && is_space(options[at])) ++at;
  const size_t begin = at;
  while (at < options.size() && !is_space(options[at])) at += options[at] == '\\' ? 2 : 1;
  at = std::min(at, options.size());
  return options.substr(begin, at - begin);
}

std::optional<std::string_view> endpoint_value(std::string_view word) {
  if (!word.starts_with(kEndpointOption)) return std::nullopt;
  return word.substr(kEndpointOption.size());
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// PostgreSQL's: the words in either case, or as much of them as is not ambiguous.
std::optional<bool> boolean(std::string_view text) {
  std::string value;
  for (const char c : text) value.push_back(lower(c));
  const auto is = [&value](std::string_view word, size_t least) {
    return value.size() >= least && word.starts_with(value);
  };
  if (is("true", 1) || is("yes", 1) || is("on", 2) || value == "1") return true;
  if (is("false", 1) || is("no", 1) || is("off", 2) || value == "0") return false;
  return std::nullopt;
}

void take_parameter(FirstPacket& out, std::string_view name, std::string_view value,
                    bool& bad_endpoint) {
  if (name == "user") {
    out.user = value;
  } else if (name == "database") {
    out.database = value;
  } else if (name == "replication") {
    const auto wanted = value == "database" ? true : boolean(value);
    out.replication = wanted.value_or(false);
    if (!wanted) {
      out.why = {"22023", "invalid value for parameter \"replication\": \"" +
                              std::string(value) + "\" (a boolean, or \"database\")"};
    }
  } else if (name.starts_with("_pq_.")) {
    out.unknown_options.emplace_back(name);
  } else if (name == "options") {
    SplitOptions split = split_options(value);
    out.endpoint = split.endpoint;
    bad_endpoint = split.named && !split.endpoint;
    if (!split.rest.empty()) out.parameters.emplace_back(name, std::move(split.rest));
  } else {
    out.parameters.emplace_back(name, value);
  }
}

FirstPacket parse_startup(Reader reader, uint16_t minor) {
  FirstPacket out;
  out.kind = FirstPacket::Kind::startup;
  out.minor_version = minor;
  bool bad_endpoint = false;
  while (true) {
    const std::string_view name = reader.text();
    if (!reader.ok()) return malformed("invalid startup packet layout");
    if (name.empty()) break;
    const std::string_view value = reader.text();
    if (!reader.ok()) return malformed("invalid startup packet layout");
    take_parameter(out, name, value, bad_endpoint);
  }
  if (!reader.rest().empty()) return malformed("invalid startup packet layout");
  if (out.user.empty()) {
    FirstPacket none = malformed("no PostgreSQL user name specified in startup packet");
    none.why.sqlstate = "28000";
    return none;
  }
  if (out.database.empty()) out.database = out.user;
  if (bad_endpoint) out.endpoint = EndpointName{};  // names nothing that exists
  out.parameters.insert(out.parameters.begin(),
                        {{"user", out.user}, {"database", out.database}});
  return out;
}

}  // namespace

std::optional<size_t> first_packet_size(std::string_view four_bytes) {
  const uint32_t size = get_uint32(four_bytes.data());
  if (size < 8 || size > kMaxStartupBytes) return std::nullopt;
  return size;
}

FirstPacket parse_first_packet(std::string_view packet) {
  Reader reader(packet);
  reader.uint32();
  const uint32_t code = reader.uint32();
  if (!reader.ok()) return malformed("invalid length of startup packet");
  FirstPacket out;
  if (code == kSslRequest || code == kGssRequest) {
    if (packet.size() != 8) return malformed("invalid length of startup packet");
    out.kind = code == kSslRequest ? FirstPacket::Kind::ssl : FirstPacket::Kind::gss;
    return out;
  }
  if (code == kCancelRequest) {
    out.cancel_pid = reader.uint32();
    out.cancel_secret = reader.uint32();
    if (!reader.ok() || !reader.rest().empty()) return malformed("invalid cancel request");
    out.kind = FirstPacket::Kind::cancel;
    return out;
  }
  if (code >> 16 != 3) {
    FirstPacket refused = malformed("unsupported frontend protocol " + std::to_string(code >> 16) +
                                    "." + std::to_string(code & 0xffff) +
                                    ": server supports 3.0 to 3.0");
    refused.why.sqlstate = "0A000";
    return refused;
  }
  return parse_startup(reader, static_cast<uint16_t>(code));
}

std::optional<EndpointName> endpoint_of_server_name(std::string_view name) {
  if (name.size() < kUuidSize) return std::nullopt;
  auto uuid = canonical_uuid(name.substr(0, kUuidSize));
  if (!uuid) return std::nullopt;
  EndpointName out{InstanceId(std::move(*uuid)), EndpointKind::read_write};
  name.remove_prefix(kUuidSize);
  if (name.starts_with(kReadOnly)) {
    out.kind = EndpointKind::read_only;
    name.remove_prefix(kReadOnly.size());
  }
  if (!name.empty() && name[0] != '.') return std::nullopt;
  return out;
}

std::vector<std::pair<std::string, std::string>> reading_parameters(
    std::vector<std::pair<std::string, std::string>> parameters) {
  std::string options;
  std::erase_if(parameters, [&options](const auto& parameter) {
    std::string name;
    for (const char c : parameter.first) name.push_back(lower(c));
    if (parameter.first == "options") options = parameter.second;
    return parameter.first == "options" || name == kReadOnlyDefault;
  });
  if (!options.empty()) options.push_back(' ');
  parameters.emplace_back("options", options + "-c " + std::string(kReadOnlyDefault) + "=on");
  return parameters;
}

std::string company_of(const FirstPacket& packet) {
  for (const auto& [name, value] : packet.parameters) {
    if (name != "application_name" || value != "pg_dump") continue;
    return packet.user + " " + packet.database;
  }
  return {};
}

std::string negotiation(const FirstPacket& packet) {
  if (packet.minor_version == 0 && packet.unknown_options.empty()) return {};
  std::string body;
  put_uint32(body, kNewestProtocol);
  put_uint32(body, static_cast<uint32_t>(packet.unknown_options.size()));
  for (const auto& option : packet.unknown_options) {
    body += option;
    body.push_back('\0');
  }
  return message('v', body);
}

SplitOptions split_options(std::string_view options) {
  SplitOptions out;
  const auto keep = [&out](std::string_view word) {
    if (!out.rest.empty()) out.rest.push_back(' ');
    out.rest += word;
  };
  size_t at = 0;
  while (true) {
    const std::string_view word = raw_word(options, at);
    if (word.empty()) return out;
    std::optional<std::string_view> value;
    if (word == "-c" || word == "--") {
      const std::string_view next = raw_word(options, at);
      value = endpoint_value(next);
      if (!value) {
        keep(word);
        if (!next.empty()) keep(next);
      }
    } else {
      const bool dashed = word.starts_with("-c") || word.starts_with("--");
      if (dashed) value = endpoint_value(word.substr(2));
      if (!value) keep(word);
    }
    if (value) {
      out.named = true;
      out.endpoint = endpoint_of_server_name(*value);
    }
  }
}

}  // namespace trunkline::proxy
