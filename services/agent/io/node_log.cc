#include "agent/io/node_log.h"

#include <sys/stat.h>

#include <algorithm>

#include "agent/domain/log_text.h"
#include "telemetry/log_line.h"

namespace trunkline::agent {
namespace {

// When the log was last emptied: the moment at which what it held was put aside.
std::string generation_of(const std::string& path) {
  struct stat aside{};
  if (::lstat((path + ".1").c_str(), &aside) != 0) return "0";
  return std::to_string(static_cast<int64_t>(aside.st_mtim.tv_sec) * 1'000'000'000 +
                        aside.st_mtim.tv_nsec);
}

}  // namespace

v1::NodeLogAnswer read_node_log(const std::string& path, const NodeUser& user,
                                const v1::NodeLogRequest& request) {
  v1::NodeLogAnswer answer;
  answer.set_there(true);
  const AsNodeUser rights(user);
  const std::string generation = generation_of(path);
  const uint64_t size = file_bytes(path);
  const bool goes_on = request.has_from();
  uint64_t from = size - std::min<uint64_t>(size, kLogPieceBytes);
  if (goes_on) {
    const bool same = request.from().generation() == generation && request.from().offset() <= size;
    from = same ? request.from().offset() : 0;
  }
  const std::string bytes = read_at(path, from, kLogPieceBytes);
  std::string_view text = bytes;
  text = text.substr(0, whole_lines(text, bytes.size() == kLogPieceBytes));
  answer.mutable_next()->set_generation(generation);
  answer.mutable_next()->set_offset(from + text.size());
  if (!goes_on) {
    if (from > 0) text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
    if (request.since_unix_us() > 0) text = lines_since(text, request.since_unix_us());
    text = last_lines(text, request.last_lines());
  }
  answer.set_text(without_secrets(telemetry::clean_utf8(text, 2 * kLogPieceBytes)));
  return answer;
}

}  // namespace trunkline::agent
