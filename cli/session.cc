#include "cli/session.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/ids.h"

namespace trunkline::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{500};

// Calls `ask` until it gives a document or the time is over; the API may be away in between.
Json poll(int64_t timeout_s, const std::string& what,
          const std::function<std::optional<Json>()>& ask) {
  const auto deadline = Clock::now() + std::chrono::seconds(timeout_s);
  auto pause = kFirstPause;
  std::string last_trouble;
  for (;;) {
    try {
      if (auto document = ask()) return *document;
      last_trouble.clear();
    } catch (const Failure& failure) {
      if (failure.code != ExitCode::unavailable) throw;
      last_trouble = std::string(": ") + failure.what();
    }
    if (Clock::now() + pause > deadline) {
      throw Failure(ExitCode::unavailable, what + " after " + std::to_string(timeout_s) + " s" +
                                               last_trouble);
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 3 / 2, kLongestPause);
  }
}

}  // namespace

Session::Session(Terminal terminal, GetEnvironment environment)
    : terminal(terminal), environment_(std::move(environment)) {}

const Platform& Session::platform() {
  if (!platform_) {
    platform_ = std::make_unique<Platform>(find_platform(platform_options, environment_));
  }
  return *platform_;
}

ApiClient& Session::api() {
  if (!api_) api_ = std::make_unique<ApiClient>(platform());
  return *api_;
}

void Session::print_rows(const std::vector<Field>& fields, const std::vector<Json>& rows) {
  if (json) {
    terminal.out << pretty(Json(rows)) << "\n";
    return;
  }
  std::vector<Column> columns;
  for (const Field& field : fields) columns.push_back({field.title, field.right, field.may_shrink});
  std::vector<Row> cells;
  for (const Json& row : rows) {
    Row line;
    for (const Field& field : fields) line.push_back(text_of(row, field.path));
    cells.push_back(std::move(line));
  }
  terminal.out << render_table(columns, cells, whole ? 0 : terminal.width);
}

void Session::print_document(const std::vector<Field>& fields, const Json& document) {
  if (json) {
    print_json(document);
    return;
  }
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Field& field : fields) {
    lines.emplace_back(field.title, text_of(document, field.path));
  }
  terminal.out << render_fields(lines);
}

void Session::print_json(const Json& document) { terminal.out << pretty(document) << "\n"; }

void Session::note(const std::string& text) { terminal.err << printable(text) << std::endl; }

std::string resolve(ApiClient& api, const std::string& collection, const std::string& name_or_uuid,
                    const std::string& what) {
  if (const auto uuid = canonical_uuid(name_or_uuid)) return *uuid;
  const std::vector<Json> found = api.list(collection, {{"name", name_or_uuid}});
  if (found.empty()) {
    throw Failure(ExitCode::not_found, "there is no " + what + " named " + printable(name_or_uuid));
  }
  if (found.size() > 1) {
    std::string message = "several are named " + printable(name_or_uuid) + ", say which:";
    for (const Json& one : found) message += "\n  " + printable(text_of(one, "uuid"));
    throw Failure(ExitCode::usage, message);
  }
  return text_of(found[0], "uuid");
}

Json wait_until_active(ApiClient& api, const std::string& path, int64_t timeout_s) {
  std::string status = "unknown";
  try {
    return poll(timeout_s, "not ACTIVE", [&]() -> std::optional<Json> {
      Json document = api.get(path);
      status = text_of(document, "status");
      if (status == "ACTIVE") return document;
      if (status != "ERROR") return std::nullopt;
      throw Failure(ExitCode::went_to_error, printable(text_of(document, "error.code") + ": " +
                                                       text_of(document, "error.message")));
    });
  } catch (const Failure& failure) {
    if (failure.code != ExitCode::unavailable) throw;
    throw Failure(ExitCode::unavailable,
                  std::string(failure.what()) + " (last status seen: " + printable(status) + ")");
  }
}

Json wait_for_operation(ApiClient& api, const std::string& path, int64_t timeout_s) {
  return poll(timeout_s, "operation " + path + " is not answered",
              [&]() -> std::optional<Json> {
                Json document = api.get(path);
                const std::string status = text_of(document, "status");
                if (status == "SUCCEEDED") return document;
                if (status != "FAILED") return std::nullopt;
                throw Failure(ExitCode::refused,
                              printable(text_of(document, "error.type") + ": " +
                                        text_of(document, "error.message")));
              });
}

ExitCode finish_write(Session& session, const std::vector<Field>& fields,
                      const ApiClient::Written& written, const std::string& path,
                      const WaitOptions& wait) {
  Json document = written.document;
  std::string at = path;
  if (!written.operation.empty()) {
    if (!wait.wait) {
      session.note("taken, not yet answered: `trunkline operations get " +
                   written.operation.substr(written.operation.rfind('/') + 1) + "`");
      session.print_json(document);
      return ExitCode::ok;
    }
    const Json operation = wait_for_operation(session.api(), written.operation, wait.timeout_s);
    const std::string resource = text_of(operation, "resource");
    if (!resource.empty()) at = resource;
    document = session.api().get(at);
  } else if (const std::string uuid = text_of(document, "uuid");
             !uuid.empty() && path.find(uuid) == std::string::npos) {
    at = path + "/" + uuid;
  }
  if (wait.wait) document = wait_until_active(session.api(), at, wait.timeout_s);
  session.print_document(fields, document);
  return ExitCode::ok;
}

}  // namespace trunkline::cli
