// Where the platform is and how to speak to it: from options, the environment or run.json.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace trunkline::cli {

struct PlatformOptions {
  std::string api;         // --api
  std::string token_file;  // --token-file
  std::string run_json;    // --run-json
};

struct PlatformProcess {
  std::string name;
  int64_t pid = 0;
  std::string log;
};

struct Platform {
  std::string api;         // without a slash at the end
  std::string token_file;  // may be empty: public routes only
  std::string log_dsn;     // may be empty
  std::vector<PlatformProcess> processes;
  std::string run_json;    // the file that was read; empty if none was
};

using GetEnvironment = std::function<std::optional<std::string>(const std::string& name)>;

// Order for each field: option, TRUNKLINE_API / TRUNKLINE_TOKEN_FILE, then the file
// --run-json or $TRUNKLINE_HOME/run.json (default ./.run/run.json). A token file of run.json is
// only used with the API of run.json: it is not sent elsewhere. Throws Failure(usage) for a file
// that is not what it should be, Failure(unavailable) if nothing says where the platform is.
Platform find_platform(const PlatformOptions& options, const GetEnvironment& environment);

// The token in the file, without the newline. Throws Failure(usage).
std::string read_token(const std::string& path);

// First line of a file of at most 64 KiB; "-" is not special. Throws Failure(usage).
std::string read_first_line(const std::string& path, const std::string& what);

}  // namespace trunkline::cli
