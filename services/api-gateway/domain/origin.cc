#include "api-gateway/domain/origin.h"

#include <algorithm>

namespace trunkline::gateway {
namespace {

constexpr size_t kLongestAddress = 45;
constexpr size_t kLongestAgent = 256;

bool is_address(std::string_view text) {
  return !text.empty() && text.size() <= kLongestAddress &&
         text.find_first_not_of("0123456789abcdefABCDEF.:") == std::string_view::npos;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// What the command is about belongs to the project of the first document that has one: the thing
// itself, or the instance that it is a part of.
std::string project_of(const Caller& caller, const v1::Command& command,
                       const std::vector<json>& found) {
  if (command.instance().has_create_instance()) {
    return command.instance().create_instance().project_id();
  }
  for (const json& document : found) {
    if (!document.is_object()) continue;
    const auto project = document.find("project_id");
    if (project != document.end() && project->is_string()) return project->get<std::string>();
  }
  return caller.project_id;
}

}  // namespace

const char* role_name(CallerRole role) {
  switch (role) {
    case CallerRole::admin: return "admin";
    case CallerRole::member: return "member";
    case CallerRole::reader: return "reader";
  }
  return "";
}

std::string client_address(const HttpRequest& request, std::span<const std::string> trusted) {
  const auto is_trusted = [&](std::string_view address) {
    return std::ranges::find(trusted, address) != trusted.end();
  };
  std::string address = request.peer;
  if (!is_trusted(address)) return address;
  std::string forwarded;
  for (const auto& [name, value] : request.headers) {
    if (name == "x-forwarded-for") forwarded += (forwarded.empty() ? "" : ",") + value;
  }
  std::string_view rest = forwarded;
  while (!rest.empty() && is_trusted(address)) {
    const size_t comma = rest.rfind(',');
    const std::string_view last =
        trimmed(comma == std::string_view::npos ? rest : rest.substr(comma + 1));
    if (!is_address(last)) break;
    address = std::string(last);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(0, comma);
  }
  return address;
}

v1::Origin origin_of(const Caller& caller, const HttpRequest& request,
                     std::span<const std::string> trusted, const v1::Command& command,
                     const std::vector<json>& found) {
  v1::Origin origin;
  origin.set_role(role_name(caller.role));
  origin.set_project_id(project_of(caller, command, found));
  origin.set_client_address(client_address(request, trusted));
  // A message's text must be UTF-8: what is not printable ASCII is not kept.
  std::string agent(request.header("user-agent").value_or("").substr(0, kLongestAgent));
  std::ranges::replace_if(agent, [](char c) { return c < ' ' || c > '~'; }, '?');
  origin.set_user_agent(std::move(agent));
  return origin;
}

}  // namespace trunkline::gateway
