#include "api-gateway/domain/request_parser.h"

#include <algorithm>

namespace trunkline::gateway {
namespace {

constexpr std::string_view kTokenSymbols = "!#$%&'*+-.^_`|~";

bool is_token_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         kTokenSymbols.find(c) != std::string_view::npos;
}
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}
// Printable ASCII without space and '#': what a request target is made of.
bool is_target_char(char c) { return c > ' ' && c < 0x7f && c != '#'; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Problem malformed(std::string message) { return bad_request("bad_http", std::move(message)); }
Problem too_large_body(size_t limit) {
  return Problem{413, "body_too_large",
                 "the body must not be larger than " + std::to_string(limit) + " bytes"};
}

bool list_has(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (lower(trim(list.substr(0, comma))) == word) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

std::variant<HttpRequest, RequestParser::Wait, Problem> RequestParser::next() {
  if (!head_) {
    // A robust server skips empty lines before a request line.
    while (buffer_.size() - taken_ >= 2 && buffer_.compare(taken_, 2, "\r\n") == 0) taken_ += 2;
    const size_t from = std::max(scanned_, taken_);
    const size_t end = buffer_.find("\r\n\r\n", from >= 3 ? std::max(from - 3, taken_) : taken_);
    const std::string_view rest = std::string_view(buffer_).substr(taken_);
    const size_t head_size = end == std::string::npos ? rest.size() : end + 2 - taken_;
    const size_t line_end = std::min(rest.find("\r\n"), rest.size());
    if (line_end > limits_.request_line_bytes) {
      return Problem{414, "uri_too_long",
                     "the request line must not be longer than " +
                         std::to_string(limits_.request_line_bytes) + " bytes"};
    }
    if (head_size > limits_.head_bytes) {
      return Problem{431, "headers_too_large",
                     "the headers must not be larger than " + std::to_string(limits_.head_bytes) +
                         " bytes"};
    }
    if (end == std::string::npos) {
      // Whoever speaks another protocol is told at once.
      if (!rest.empty() && rest != "\r" && !is_token_char(rest.front())) {
        return malformed("no HTTP request");
      }
      if (rest.find('\0') != std::string_view::npos) return malformed("NUL in the request's head");
      scanned_ = buffer_.size();
      return Wait::for_head;
    }
    head_.emplace();
    wants_continue_ = false;
    if (auto problem = parse_head(rest.substr(0, head_size))) return *problem;
    taken_ = end + 4;
    if (auto problem = settle_framing()) return *problem;
  }
  if (head_->chunked) {
    const auto whole = take_chunks();
    forget_taken();
    if (const auto* problem = std::get_if<Problem>(&whole)) return *problem;
    if (!std::get<bool>(whole)) return Wait::for_body;
    return finish(0);
  }
  if (buffered() < head_->body_bytes) return Wait::for_body;
  head_->request.body.assign(buffer_, taken_, head_->body_bytes);
  return finish(head_->body_bytes);
}

bool RequestParser::take_continue_wish() {
  const bool wish = wants_continue_ && head_ && buffered() == 0;
  wants_continue_ = false;
  return wish;
}

HttpRequest RequestParser::finish(size_t used) {
  HttpRequest request = std::move(head_->request);
  head_.reset();
  taken_ += used;
  forget_taken();
  scanned_ = 0;
  return request;
}

void RequestParser::forget_taken() {
  if (taken_ == buffer_.size()) {
    buffer_.clear();
    if (buffer_.capacity() > limits_.head_bytes) buffer_.shrink_to_fit();
  } else {
    buffer_.erase(0, taken_);
  }
  taken_ = 0;
}

std::optional<Problem> RequestParser::parse_head(std::string_view head) {
  size_t line_number = 0;
  while (!head.empty()) {
    const size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end == std::string_view::npos ? head.size() : end + 2);
    for (char c : line) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
        return malformed("control character in the request's head");
      }
    }
    if (auto problem = line_number == 0 ? parse_request_line(line) : parse_header(line)) {
      return problem;
    }
    if (++line_number > limits_.header_count + 1) {
      return Problem{431, "headers_too_large",
                     "a request must not have more than " + std::to_string(limits_.header_count) +
                         " headers"};
    }
  }
  return std::nullopt;
}

std::optional<Problem> RequestParser::parse_request_line(std::string_view line) {
  HttpRequest& request = head_->request;
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return malformed("the request line must be: method, target, version");
  }
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || method.size() > 32) return malformed("the method is not a token");
  if (target.empty() || !std::all_of(target.begin(), target.end(), is_target_char)) {
    return malformed("the target must be printable ASCII without spaces, percent-encoded");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return malformed("the version must be HTTP/1.1 or HTTP/1.0");
  }
  http10_ = version == "HTTP/1.0";
  request.method = std::string(method);
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    if (!target.starts_with('/')) {
      request.path = "/";
      if (target.starts_with('?')) request.query = std::string(target.substr(1));
      return std::nullopt;
    }
  }
  if (target != "*" && target.front() != '/') return malformed("the target must start with '/'");
  const size_t question = target.find('?');
  request.path = std::string(target.substr(0, question));
  if (question != std::string_view::npos) request.query = std::string(target.substr(question + 1));
  return std::nullopt;
}

std::optional<Problem> RequestParser::parse_header(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return malformed("a header has no colon");
  const std::string_view name = line.substr(0, colon);
  if (!is_token(name)) return malformed("a header's name is not a token");
  head_->request.headers.emplace_back(lower(name), std::string(trim(line.substr(colon + 1))));
  return std::nullopt;
}

std::optional<Problem> RequestParser::settle_framing() {
  HttpRequest& request = head_->request;
  const size_t hosts = request.header_count("host");
  if (hosts > 1 || (hosts == 0 && !http10_)) return malformed("there must be one Host header");
  if (request.header_count("content-length") > 1) return malformed("Content-Length is repeated");
  if (request.header_count("transfer-encoding") > 1) {
    return malformed("Transfer-Encoding is repeated");
  }
  const auto length = request.header("content-length");
  const auto encoding = request.header("transfer-encoding");
  if (length && encoding) return malformed("Content-Length together with Transfer-Encoding");
  if (encoding) {
    if (http10_ || lower(*encoding) != "chunked") {
      return malformed("the only Transfer-Encoding that is understood is chunked");
    }
    head_->chunked = true;
  }
  if (length) {
    const bool digits = !length->empty() && std::all_of(length->begin(), length->end(), [](char c) {
      return c >= '0' && c <= '9';
    });
    if (!digits) return malformed("Content-Length is not a number");
    if (length->size() > 9) return too_large_body(limits_.body_bytes);
    head_->body_bytes = std::stoul(std::string(*length));
    if (head_->body_bytes > limits_.body_bytes) return too_large_body(limits_.body_bytes);
  }
  bool close = false;
  bool keep = false;
  for (const auto& [name, value] : request.headers) {
    if (name != "connection") continue;
    close = close || list_has(value, "close");
    keep = keep || list_has(value, "keep-alive");
  }
  request.keep_alive = !close && (!http10_ || keep);
  request.knows_chunks = !http10_;
  if (const auto expect = request.header("expect"); request.header_count("expect") > 0) {
    if (!expect || lower(*expect) != "100-continue") {
      return Problem{417, "bad_expectation", "the only expectation that is met is 100-continue"};
    }
    wants_continue_ = !http10_ && (head_->chunked || head_->body_bytes > 0);
  }
  return std::nullopt;
}

std::variant<bool, Problem> RequestParser::take_chunks() {
  constexpr size_t kLongestSizeLine = 256;
  constexpr size_t kMostFraming = 8;  // times the largest body: chunks of a byte are allowed
  std::string& body = head_->request.body;
  while (true) {
    const std::string_view rest = std::string_view(buffer_).substr(taken_);
    const size_t line_end = rest.find("\r\n");
    if (std::min(line_end, rest.size()) > kLongestSizeLine) {
      return malformed("a chunk's size line is too long");
    }
    if (line_end == std::string_view::npos) return false;
    std::string_view digits = rest.substr(0, std::min(line_end, rest.find(';')));
    digits = trim(digits);
    size_t size = 0;
    if (digits.empty() || digits.size() > 8) return malformed("a chunk's size is no number");
    for (char c : digits) {
      const int value = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (value < 0) return malformed("a chunk's size is no number");
      size = size * 16 + static_cast<size_t>(value);
    }
    if (body.size() + size > limits_.body_bytes) return too_large_body(limits_.body_bytes);
    if (head_->framing_bytes + line_end > kMostFraming * limits_.body_bytes) {
      return malformed("the chunks' size lines are longer than a body may be");
    }
    const size_t data_at = line_end + 2;
    if (size == 0) {
      // Trailers would be headers that nobody checked.
      if (rest.size() < data_at + 2) return false;
      if (rest.substr(data_at, 2) != "\r\n") return malformed("trailers are not understood");
      taken_ += data_at + 2;
      return true;
    }
    if (rest.size() < data_at + size + 2) return false;
    if (rest.substr(data_at + size, 2) != "\r\n") return malformed("a chunk is not closed");
    body.append(rest.substr(data_at, size));
    taken_ += data_at + size + 2;
    head_->framing_bytes += data_at + 2;
  }
}

}  // namespace trunkline::gateway
