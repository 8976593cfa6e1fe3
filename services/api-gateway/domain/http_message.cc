#include "api-gateway/domain/http_message.h"

namespace trunkline::gateway {

const char* reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

namespace {

void put_headers(const HttpResponse& response, std::string* out) {
  *out += "\r\nX-Content-Type-Options: nosniff";
  for (const auto& [name, value] : response.headers) {
    *out += "\r\n";
    *out += name;
    *out += ": ";
    // A line break in a value would let whoever chose it write headers of his own.
    for (char c : value) *out += c == '\r' || c == '\n' ? ' ' : c;
  }
  *out += "\r\n\r\n";
}

void put_status(const HttpResponse& response, std::string_view date, std::string* out) {
  *out += "HTTP/1.1 ";
  *out += std::to_string(response.status);
  *out += ' ';
  *out += reason_phrase(response.status);
  *out += "\r\nDate: ";
  *out += date;
}

}  // namespace

std::string render_open_head(const HttpResponse& response, std::string_view date, bool chunked) {
  std::string out;
  put_status(response, date, &out);
  out += "\r\nContent-Type: " + response.content_type;
  if (chunked) out += "\r\nTransfer-Encoding: chunked";
  out += "\r\nConnection: close";
  put_headers(response, &out);
  return out;
}

std::string render_chunk(std::string_view piece) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string size;
  for (size_t rest = piece.size(); rest > 0; rest >>= 4) {
    size.insert(size.begin(), kDigits[rest & 15]);
  }
  std::string out = std::move(size);
  out += "\r\n";
  out += piece;
  out += "\r\n";
  return out;
}

std::string render_last_chunk(const std::vector<std::pair<std::string, std::string>>& trailers) {
  std::string out = "0\r\n";
  for (const auto& [name, value] : trailers) out += name + ": " + value + "\r\n";
  return out + "\r\n";
}

std::string render(const HttpResponse& response, std::string_view date, bool keep_alive,
                   bool head_request) {
  std::string out;
  out.reserve(320 + response.body.size());
  put_status(response, date, &out);
  if (response.status != 204) {
    out += "\r\nContent-Type: ";
    out += response.content_type;
    out += "\r\nContent-Length: ";
    out += std::to_string(response.body.size());
  }
  out += keep_alive ? "\r\nConnection: keep-alive" : "\r\nConnection: close";
  put_headers(response, &out);
  if (!head_request && response.status != 204) out += response.body;
  return out;
}

}  // namespace trunkline::gateway
