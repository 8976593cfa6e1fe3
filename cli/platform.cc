#include "cli/platform.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "cli/exit_code.h"
#include "cli/json.h"

namespace trunkline::cli {
namespace {

constexpr size_t kMaxFileBytes = 64 * 1024;

std::optional<std::string> read_file(const std::string& path, std::string* why) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                             &std::fclose);
  if (!file) {
    *why = std::strerror(errno);
    return std::nullopt;
  }
  std::string text(kMaxFileBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) {
    *why = std::strerror(errno);
    return std::nullopt;
  }
  if (text.size() > kMaxFileBytes) {
    *why = "larger than 64 KiB";
    return std::nullopt;
  }
  return text;
}

Platform from_run_json(const std::string& path, const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw Failure(ExitCode::usage, path + ": is not a JSON object");
  Platform platform;
  platform.run_json = path;
  platform.api = text_of(json, "api");
  platform.token_file = text_of(json, "admin_token_file");
  platform.log_dsn = text_of(json, "log_dsn");
  const auto processes = json.find("processes");
  if (processes != json.end() && processes->is_array()) {
    for (const Json& process : *processes) {
      if (!process.is_object()) continue;
      const auto pid = process.find("pid");
      platform.processes.push_back(
          {text_of(process, "name"),
           pid != process.end() && pid->is_number_integer() ? pid->get<int64_t>() : 0,
           text_of(process, "log")});
    }
  }
  return platform;
}

std::string without_trailing_slash(std::string url) {
  while (!url.empty() && url.back() == '/') url.pop_back();
  return url;
}

}  // namespace

Platform find_platform(const PlatformOptions& options, const GetEnvironment& environment) {
  const auto value = [&](const std::string& option, const char* name) {
    return option.empty() ? environment(name).value_or("") : option;
  };
  const std::string api = without_trailing_slash(value(options.api, "TRUNKLINE_API"));
  const std::string token_file = value(options.token_file, "TRUNKLINE_TOKEN_FILE");

  std::string path = options.run_json;
  if (path.empty()) path = environment("TRUNKLINE_HOME").value_or(".run") + "/run.json";
  std::string why;
  const auto text = read_file(path, &why);
  if (!text && (!options.run_json.empty() || api.empty())) {
    throw Failure(ExitCode::unavailable,
                  "no platform: " + path + ": " + why +
                      " (say --api URL, or set TRUNKLINE_API or TRUNKLINE_HOME)");
  }
  Platform platform;
  if (text) platform = from_run_json(path, *text);
  if (!api.empty() && api != without_trailing_slash(platform.api)) {
    platform = Platform{};
    platform.api = api;
  }
  platform.api = without_trailing_slash(platform.api);
  if (!token_file.empty()) platform.token_file = token_file;
  if (platform.api.empty()) throw Failure(ExitCode::usage, path + ": has no \"api\"");
  return platform;
}

std::string read_first_line(const std::string& path, const std::string& what) {
  std::string why;
  const auto text = read_file(path, &why);
  if (!text) throw Failure(ExitCode::usage, what + " " + path + ": " + why);
  std::string line = text->substr(0, text->find('\n'));
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

std::string read_token(const std::string& path) {
  const std::string token = read_first_line(path, "token file");
  if (token.empty()) throw Failure(ExitCode::usage, "token file " + path + ": is empty");
  for (const char c : token) {
    if (c <= ' ' || c > '~') {
      throw Failure(ExitCode::usage, "token file " + path + ": does not hold a token");
    }
  }
  return token;
}

}  // namespace trunkline::cli
