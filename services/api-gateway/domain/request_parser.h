// Reads HTTP/1.0 and HTTP/1.1 requests out of a byte stream, one after another, and refuses
// everything that two programs could read differently (smuggling): bare LF, folded headers, spaces
// before a colon, repeated or unclear lengths, lengths together with Transfer-Encoding, control
// characters. Pure; not thread-safe; memory is bounded by the limits and what the caller appends.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api-gateway/domain/http_message.h"
#include "api-gateway/domain/problem.h"

namespace trunkline::gateway {

struct RequestLimits {
  size_t request_line_bytes = 8 * 1024;
  size_t head_bytes = 16 * 1024;  // request line and headers
  size_t header_count = 64;
  size_t body_bytes = 64 * 1024;
};

class RequestParser {
 public:
  explicit RequestParser(RequestLimits limits = {}) : limits_(limits) {}

  void append(std::string_view bytes) { buffer_.append(bytes); }

  enum class Wait { for_head, for_body };
  // The next whole request, or what is still missing, or why the stream cannot be read any
  // further (the connection is to be closed after the answer).
  std::variant<HttpRequest, Wait, Problem> next();

  // Bytes that no request has taken yet.
  size_t buffered() const { return buffer_.size() - taken_; }
  // Of a body that comes in chunks, what has come.
  size_t body_bytes() const { return head_ ? head_->request.body.size() : 0; }
  // The request whose body is waited for.
  const HttpRequest* pending_head() const { return head_ ? &head_->request : nullptr; }
  // True once after a head with "Expect: 100-continue" whose body has not come.
  bool take_continue_wish();

 private:
  struct Head {
    HttpRequest request;
    bool chunked = false;
    size_t body_bytes = 0;
    size_t framing_bytes = 0;  // of chunks, what is not the body
  };
  std::optional<Problem> parse_head(std::string_view head);
  std::optional<Problem> parse_request_line(std::string_view line);
  std::optional<Problem> parse_header(std::string_view line);
  std::optional<Problem> settle_framing();
  std::variant<bool, Problem> take_chunks();  // true: the body is whole
  void forget_taken();
  HttpRequest finish(size_t used);

  RequestLimits limits_;
  std::string buffer_;
  size_t taken_ = 0;     // of buffer_, by requests already returned and by the current head
  size_t scanned_ = 0;   // no end of head before this
  std::optional<Head> head_;
  bool http10_ = false;
  bool wants_continue_ = false;
};

}  // namespace trunkline::gateway
