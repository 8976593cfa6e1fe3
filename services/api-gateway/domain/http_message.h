// An HTTP request and response as the handlers see them, free of any server library. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trunkline::gateway {

struct HttpRequest {
  std::string method;   // as sent: "GET"
  std::string path;     // raw, starts with '/', without query
  std::string query;    // raw, without '?'
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  bool keep_alive = true;
  bool knows_chunks = true;  // HTTP/1.0 does not
  std::string peer;          // address at the other end of the connection

  // The value of the only header of this name; nothing if there is none or more than one.
  std::optional<std::string_view> header(std::string_view lower_case_name) const {
    std::optional<std::string_view> found;
    for (const auto& [name, value] : headers) {
      if (name != lower_case_name) continue;
      if (found) return std::nullopt;
      found = value;
    }
    return found;
  }
  size_t header_count(std::string_view lower_case_name) const {
    size_t count = 0;
    for (const auto& field : headers) count += field.first == lower_case_name ? 1 : 0;
    return count;
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// The head of a response whose body comes in pieces; the connection ends with it. Without chunks
// that end alone says that the body is whole.
std::string render_open_head(const HttpResponse& response, std::string_view date, bool chunked);
std::string render_chunk(std::string_view piece);  // of something
std::string render_last_chunk(const std::vector<std::pair<std::string, std::string>>& trailers);

const char* reason_phrase(int status);

// The bytes of the response. `date` is an IMF-fixdate; a HEAD request gets no body but its length.
std::string render(const HttpResponse& response, std::string_view date, bool keep_alive,
                   bool head_request);

}  // namespace trunkline::gateway
