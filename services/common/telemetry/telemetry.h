// Traces and logs. One call of start() a process, before threads. Without
// OTEL_EXPORTER_OTLP_ENDPOINT spans are made (ids go into logs and messages) but not exported; with
// it they go in batches over OTLP/HTTP and are dropped when the collector is slow. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace trunkline::telemetry {

// Also sets the global spdlog logger up: one JSON object a line on standard error with ts, level,
// service, trace_id (of the span active on the thread) and msg.
void start(const std::string& service_name, const std::string& instance_name = {});
// Flushes what is pending, waiting at most two seconds.
void stop();

enum class SpanKind { internal, server, client, producer, consumer };

// Ends when destroyed; is the thread's active span while it lives, so destroy in reverse order of
// creation on the thread that made it.
class Span {
 public:
  // Child of `parent_traceparent` (W3C) if it is valid, else of the thread's active span, else a
  // root.
  Span(std::string_view name, SpanKind kind, std::string_view parent_traceparent = {});
  // The same, but no thread's active span: may be used and destroyed on any thread, one at a time.
  static std::unique_ptr<Span> unattached(std::string_view name, SpanKind kind,
                                          std::string_view parent_traceparent = {});
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, int64_t value);
  void event(std::string_view name);
  void error(std::string_view message);
  std::string traceparent() const;  // to pass on
  std::string trace_id() const;     // 32 hex digits

 private:
  struct Impl;
  explicit Span(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// True for version 00, non-zero ids, lower-case hex: what may be taken from a stranger.
bool is_traceparent(std::string_view text);

}  // namespace trunkline::telemetry
