#include "cli/api_client.h"

#include <algorithm>
#include <thread>

#include "cli/exit_code.h"
#include "cli/table.h"
#include "runtime/random.h"

namespace trunkline::cli {
namespace {

constexpr size_t kPageRows = 500;
constexpr int kTries = 3;
constexpr std::chrono::milliseconds kPause{250};

std::string target_of(const std::string& path, const Query& query) {
  std::string target = path;
  char separator = '?';
  for (const auto& [name, value] : query) {
    target += separator + url_encoded(name) + "=" + url_encoded(value);
    separator = '&';
  }
  return target;
}

Failure failure_of(const HttpAnswer& answer) {
  const Json error = Json::parse(answer.body, nullptr, false);
  std::string type = text_of(error, "type");
  std::string message = text_of(error, "message");
  if (type.empty()) type = "http_" + std::to_string(answer.status);
  if (message.empty()) message = "the API answered " + std::to_string(answer.status);
  ExitCode code = ExitCode::refused;
  if (answer.status == 404) code = ExitCode::not_found;
  if (answer.status == 429 || answer.status >= 500) code = ExitCode::unavailable;
  return Failure(code, printable(type + ": " + message));
}

Json parsed(const HttpAnswer& answer) {
  Json json = Json::parse(answer.body, nullptr, false);
  if (json.is_discarded()) {
    throw Failure(ExitCode::unavailable, "the API's answer is not JSON: is it Trunkline's API?");
  }
  return json;
}

// Empty: there are no more pages.
std::string next_marker(const HttpAnswer& answer) {
  const auto found = answer.headers.find("x-pagination-marker");
  return found == answer.headers.end() ? std::string() : found->second;
}

std::string path_of_location(std::string location) {
  const size_t scheme = location.find("://");
  if (scheme == std::string::npos) return location;
  const size_t slash = location.find('/', scheme + 3);
  return slash == std::string::npos ? "/" : location.substr(slash);
}

}  // namespace

ApiClient::ApiClient(const Platform& platform) : api_(platform.api) {
  if (!platform.token_file.empty()) token_ = read_token(platform.token_file);
}

// A write carries a key, so that sending it again has no second effect.
HttpAnswer ApiClient::exchange(const std::string& method, const std::string& target,
                               const std::string& body, std::chrono::milliseconds timeout) {
  HttpRequest request{.method = method, .url = api_ + target, .body = body, .headers = {},
                      .timeout = timeout, .sink = {}};
  request.headers.push_back("Accept: application/json");
  if (!token_.empty()) request.headers.push_back("Authorization: Bearer " + token_);
  if (method != "GET") request.headers.push_back("Idempotency-Key: " + runtime::new_uuid());
  for (int left = kTries - 1;; --left) {
    HttpAnswer answer = http_.send(request);
    if (left == 0 || (answer.status != 503 && answer.status != 429)) return answer;
    std::this_thread::sleep_for(kPause);
  }
}

Json ApiClient::get(const std::string& path, const Query& query,
                    std::chrono::milliseconds timeout) {
  const HttpAnswer answer = exchange("GET", target_of(path, query), "", timeout);
  if (answer.status != 200) throw failure_of(answer);
  return parsed(answer);
}

Json ApiClient::get_pages(const std::string& path, const Query& query,
                          std::chrono::milliseconds timeout) {
  Json whole;
  for (std::string marker;;) {
    Query page = query;
    if (!marker.empty()) page.emplace_back("page_marker", marker);
    const HttpAnswer answer = exchange("GET", target_of(path, page), "", timeout);
    if (answer.status != 200) throw failure_of(answer);
    Json part = parsed(answer);
    if (marker.empty()) {
      whole = std::move(part);
    } else {
      for (auto& [name, value] : part.items()) {
        if (!value.is_array()) continue;
        Json& list = whole[name];
        for (Json& item : value) list.push_back(std::move(item));
      }
    }
    const std::string next = next_marker(answer);
    if (next.empty() || next == marker) return whole;
    marker = next;
  }
}

std::vector<Json> ApiClient::list(const std::string& path, const Query& query, size_t limit) {
  std::vector<Json> rows;
  std::string marker;
  for (;;) {
    Query page = query;
    const size_t wanted = limit == 0 ? kPageRows : std::min(kPageRows, limit - rows.size());
    page.emplace_back("page_limit", std::to_string(wanted));
    if (!marker.empty()) page.emplace_back("page_marker", marker);
    const HttpAnswer answer = exchange("GET", target_of(path, page), "", kTimeout);
    if (answer.status != 200) throw failure_of(answer);
    Json body = parsed(answer);
    if (body.is_object() && body.contains("versions")) body = Json(body["versions"]);
    if (!body.is_array()) throw Failure(ExitCode::unavailable, "the API's answer is not a list");
    for (Json& row : body) rows.push_back(std::move(row));
    const std::string next = next_marker(answer);
    const bool more = !next.empty() && next != marker && !body.empty();
    if (!more || (limit != 0 && rows.size() >= limit)) return rows;
    marker = next;
  }
}

std::map<std::string, std::string> ApiClient::pour(
    const std::string& path, const Query& query,
    const std::function<bool(std::string_view)>& sink) {
  HttpRequest request{.method = "GET", .url = api_ + target_of(path, query), .body = {},
                      .headers = {}, .timeout = std::chrono::milliseconds(0), .sink = sink};
  if (!token_.empty()) request.headers.push_back("Authorization: Bearer " + token_);
  const HttpAnswer answer = http_.send(request);
  if (answer.status != 200) throw failure_of(answer);
  return answer.headers;
}

ApiClient::Written ApiClient::write(const std::string& method, const std::string& path,
                                    const std::string& body,
                                    std::chrono::milliseconds timeout) {
  const HttpAnswer answer = exchange(method, path, body, timeout);
  if (answer.status < 200 || answer.status > 299) throw failure_of(answer);
  Written written;
  if (answer.status == 202) {
    const auto location = answer.headers.find("location");
    if (location != answer.headers.end()) written.operation = path_of_location(location->second);
  }
  if (!answer.body.empty()) written.document = parsed(answer);
  return written;
}

ApiClient::Written ApiClient::post(const std::string& path, const Json& body,
                                   std::chrono::milliseconds timeout) {
  return write("POST", path, compact(body), timeout);
}

ApiClient::Written ApiClient::put(const std::string& path, const Json& body) {
  return write("PUT", path, compact(body));
}

ApiClient::Written ApiClient::remove(const std::string& path) {
  return write("DELETE", path, "");
}

int ApiClient::probe(const std::string& path) {
  try {
    return http_.send({.method = "GET", .url = api_ + path, .body = {}, .headers = {},
                       .timeout = std::chrono::milliseconds(3000), .sink = {}}).status;
  } catch (const Failure&) {
    return 0;
  }
}

}  // namespace trunkline::cli
