// Traces and logs. One call of start() a process, before threads. Without
// OTEL_EXPORTER_OTLP_ENDPOINT spans are made (ids go into logs and messages) but not exported; with
// it they go in batches over OTLP/HTTP and are dropped when the collector is slow. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "telemetry/sampling.h"

namespace trunkline::telemetry {

// Also sets the global spdlog logger up: one JSON object a line on standard error with ts, level,
// service, trace_id (of the span active on the thread) and msg.
void start(const std::string& service_name, const std::string& instance_name = {});
// Flushes what is pending, waiting at most two seconds.
void stop();

enum class SpanKind { internal, server, client, producer, consumer };

// A cause older than this is linked to; its trace is over for whoever looks at it.
inline constexpr std::chrono::seconds kTraceAge{60};

struct SpanOptions {
  SpanKind kind = SpanKind::internal;
  // W3C. If it is valid the span is its child, else a child of the thread's active span, else a
  // root.
  std::string parent;
  std::vector<std::string> links;  // W3C; what is not valid is left out
  bool is_root = false;            // takes no parent
  Weight weight = Weight::change;  // of a root, for sampling
};
// Goes on from what happened `age` ago: its child, or a root that is linked to it if that is long
// ago.
SpanOptions following(SpanKind kind, const std::string& cause, std::chrono::microseconds age);

// Ends when destroyed; is the thread's active span while it lives, so destroy in reverse order of
// creation on the thread that made it. Left by an exception it ends as failed. One that is not
// sampled is sent all the same if it failed.
class Span {
 public:
  Span(std::string_view name, const SpanOptions& options);
  Span(std::string_view name, SpanKind kind, std::string_view parent_traceparent = {});
  // The same, but no thread's active span: may be used and destroyed on any thread, one at a time.
  static std::unique_ptr<Span> unattached(std::string_view name, const SpanOptions& options);
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, int64_t value);
  void event(std::string_view name);
  // `type` is of a small set: a status code, a rule, the name of an exception.
  void fail(std::string_view type, std::string_view message = {});
  std::string traceparent() const;  // to pass on
  std::string trace_id() const;     // 32 hex digits

 private:
  struct Impl;
  explicit Span(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A trace that no process holds open: its root is told when all of it is over, by whoever sees
// that, under ids that follow from `seed`. Until then its spans name root_of(seed) as their parent.
std::string root_of(std::string_view seed);
struct Told {
  std::string name;
  std::string seed;
  std::chrono::system_clock::time_point begun;
  std::vector<std::string> links;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string error_type;  // empty: it went well
};
void tell(const Told& root);

// True for version 00, non-zero ids, lower-case hex: what may be taken from a stranger.
bool is_traceparent(std::string_view text);

}  // namespace trunkline::telemetry
