// What one run of the command has: its arguments, the platform, and where it prints.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "cli/api_client.h"
#include "cli/exit_code.h"
#include "cli/json.h"
#include "cli/platform.h"
#include "cli/table.h"

namespace trunkline::cli {

struct Terminal {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  size_t width = 0;  // of `out`; 0: not a terminal, nothing is cut
};

// One column of a list, or one line of a document: `path` into the JSON (see text_of).
struct Field {
  std::string title;
  std::string path;
  bool right = false;
  bool may_shrink = false;
};

// Not thread-safe.
class Session {
 public:
  Session(Terminal terminal, GetEnvironment environment);

  // Arguments of all commands.
  PlatformOptions platform_options;
  bool json = false;
  bool whole = false;  // never cut a table's cells
  // Set by the parsed command; run afterwards.
  std::function<ExitCode()> action;

  Terminal terminal;

  const Platform& platform();  // throws Failure
  ApiClient& api();            // throws Failure

  void print_rows(const std::vector<Field>& fields, const std::vector<Json>& rows);
  void print_document(const std::vector<Field>& fields, const Json& document);
  void print_json(const Json& document);
  void note(const std::string& text);  // a line for people, on `err`

 private:
  GetEnvironment environment_;
  std::unique_ptr<Platform> platform_;
  std::unique_ptr<ApiClient> api_;
};

// The UUID of the one resource at `collection` whose name is `name_or_uuid`; a UUID is taken as it
// is. Throws Failure(not_found), or Failure(usage) if several have the name.
std::string resolve(ApiClient& api, const std::string& collection, const std::string& name_or_uuid,
                    const std::string& what);

struct WaitOptions {
  bool wait = false;
  int64_t timeout_s = 120;
};
// Polls until the resource's status is ACTIVE. Throws Failure: went_to_error with the API's error,
// unavailable when the time is over, not_found if it goes away.
Json wait_until_active(ApiClient& api, const std::string& path, int64_t timeout_s);
// Polls an operation until it has ended well. Throws Failure: refused if it failed, unavailable.
Json wait_for_operation(ApiClient& api, const std::string& path, int64_t timeout_s);

// What every writing command does with the answer: waits for an operation that was not answered in
// time and for ACTIVE, both if asked, and prints the document. `path`: of the resource, or of the
// collection that it was created in.
ExitCode finish_write(Session& session, const std::vector<Field>& fields,
                      const ApiClient::Written& written, const std::string& path,
                      const WaitOptions& wait);

}  // namespace trunkline::cli
