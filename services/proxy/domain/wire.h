// Messages of PostgreSQL's protocol 3.0 as bytes (chapter "Message Formats" of its manual), and
// reading of fields from them. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trunkline::proxy {

// Codes in the place of a protocol version.
inline constexpr uint32_t kSslRequest = 80877103;
inline constexpr uint32_t kCancelRequest = 80877102;
inline constexpr uint32_t kGssRequest = 80877104;
inline constexpr size_t kHeader = 5;  // type and length of a message

uint32_t get_uint32(const char* at);
void put_uint32(std::string& out, uint32_t value);

// `type`, the length, `body`.
std::string message(char type, std::string_view body);

// What a client is told. FATAL errors end its connection.
struct Refusal {
  std::string sqlstate;
  std::string text;
};
std::string fatal(const Refusal& refusal);
std::string error_report(const Refusal& refusal);  // after which the connection goes on

// AuthenticationRequest with `code`.
std::string authentication(uint32_t code, std::string_view data = {});
std::string backend_key(uint32_t pid, uint32_t secret);
std::string cancel_request(uint32_t pid, uint32_t secret);
std::string ssl_request();
// Name and value pairs as a start-up packet of version 3.0.
std::string startup_packet(const std::vector<std::pair<std::string, std::string>>& parameters);
std::string simple_query(std::string_view sql);
std::string parse_message(std::string_view name, std::string_view sql,
                          const std::vector<uint32_t>& types);
// Bind of a named statement to the unnamed portal, parameters and results as text; and its Execute.
std::string bind_message(std::string_view statement, const std::vector<std::string>& parameters);
std::string execute_message();
std::string close_statement(std::string_view name);
std::string sync_message();

// The field `code` of an ErrorResponse's or NoticeResponse's body; empty: not there.
std::string_view report_field(std::string_view body, char code);
// A DataRow's columns as text; nothing if the body is malformed. NULL is an empty text.
std::optional<std::vector<std::string>> row_columns(std::string_view body);

// Reads what a message consists of; after the first read beyond the end ok() is false and all
// further reads give zeros.
class Reader {
 public:
  explicit Reader(std::string_view body) : rest_(body) {}
  uint32_t uint32();
  uint16_t uint16();
  std::string_view text();  // up to its zero byte
  std::string_view bytes(size_t count);
  std::string_view rest() const { return rest_; }
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace trunkline::proxy
