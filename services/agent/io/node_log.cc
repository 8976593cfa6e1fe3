#include "agent/io/node_log.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <mutex>

#include "agent/domain/log_text.h"
#include "agent/io/file_ops.h"
#include "telemetry/log_line.h"

namespace trunkline::agent {
namespace {

// Of places that count from the log's first byte.
constexpr char kGeneration[] = "1";

// Who reads sees the files before or after they were changed. One for all logs: it is short.
std::mutex files;

// Bytes that were taken out of the log so far.
uint64_t base_of(const std::string& path) {
  const std::string text = read_file(path + ".base").value_or("");
  uint64_t base = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), base);
  return error == std::errc() ? base : 0;
}

// The log as places see it.
struct Span {
  uint64_t aside = 0;  // the oldest byte that is kept
  uint64_t base = 0;   // the oldest in the log itself
  uint64_t end = 0;
};
Span span_of(const std::string& path) {
  Span span;
  span.base = base_of(path);
  span.aside = span.base - std::min<uint64_t>(span.base, file_bytes(path + ".1"));
  span.end = span.base + file_bytes(path);
  return span;
}

// A piece from `from` on, all of it from one of the two files.
std::string read_piece(const std::string& path, const Span& span, uint64_t from) {
  if (from >= span.base) return read_at(path, from - span.base, kLogPieceBytes);
  return read_at(path + ".1", from - span.aside, kLogPieceBytes);
}

}  // namespace

v1::NodeLogAnswer read_node_log(const std::string& path, const NodeUser& user,
                                const v1::NodeLogRequest& request) {
  v1::NodeLogAnswer answer;
  answer.set_there(true);
  const AsNodeUser rights(user);
  std::unique_lock lock(files);
  const Span span = span_of(path);
  const bool goes_on = request.has_from();
  uint64_t from = span.end - std::min<uint64_t>(span.end - span.base, kLogPieceBytes);
  bool within_a_line = !goes_on && from > span.base;
  if (goes_on) {
    const auto& wanted = request.from();
    const bool known = wanted.generation() == kGeneration && wanted.offset() <= span.end;
    within_a_line = known && wanted.offset() < span.aside;  // what was between is not kept
    from = known ? std::max(wanted.offset(), span.aside) : span.base;
  }
  const std::string bytes = read_piece(path, span, from);
  lock.unlock();
  std::string_view text = bytes;
  // What was put aside ends where the log was emptied, if within a line.
  const bool is_last = from < span.base && from + bytes.size() >= span.base;
  text = text.substr(0, whole_lines(text, is_last || bytes.size() == kLogPieceBytes));
  answer.mutable_next()->set_generation(kGeneration);
  answer.mutable_next()->set_offset(from + text.size());
  if (within_a_line) text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  if (!goes_on) {
    if (request.since_unix_us() > 0) text = lines_since(text, request.since_unix_us());
    text = last_lines(text, request.last_lines());
  }
  answer.set_text(without_secrets(telemetry::clean_utf8(text, 2 * kLogPieceBytes)));
  return answer;
}

bool empty_node_log(const std::string& path, const NodeUser& user, size_t limit, size_t kept) {
  const AsNodeUser rights(user);
  const uint64_t size = file_bytes(path);
  if (size <= limit) return false;
  const std::lock_guard lock(files);
  const uint64_t from = size - std::min<uint64_t>(size, kept);
  write_file_atomically(path + ".1", read_at(path, from, size - from), 0600, false);
  // What came while that was written; only microseconds are left for a line to be lost in.
  const std::string late = read_at(path, size, limit);
  if (!late.empty()) std::ofstream(path + ".1", std::ios::app | std::ios::binary) << late;
  write_file_atomically(path + ".base", std::to_string(base_of(path) + size + late.size()), 0600,
                        false);
  return ::truncate(path.c_str(), 0) == 0;
}

}  // namespace trunkline::agent
