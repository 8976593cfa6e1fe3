#include <opentelemetry/common/timestamp.h>
#include <opentelemetry/context/context.h>
#include <opentelemetry/trace/scope.h>
#include <opentelemetry/trace/span.h>
#include <opentelemetry/trace/span_startoptions.h>
#include <unistd.h>

#include <exception>
#include <map>
#include <optional>

#include "base/digest.h"
#include "telemetry/attributes.h"
#include "telemetry/log_line.h"
#include "telemetry/telemetry.h"
#include "telemetry/tracer.h"

namespace trunkline::telemetry {
namespace {

namespace otel = opentelemetry;

constexpr size_t kMaxAttributeBytes = 4096;

// ---- W3C trace context -----------------------------------------------------------------------

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Nothing if `text` has a character that is not lower-case hex or if all bytes are zero.
template <size_t N>
bool parse_id(std::string_view text, uint8_t (&out)[N]) {
  bool any = false;
  for (size_t i = 0; i < N; ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
    any = any || out[i] != 0;
  }
  return any;
}

otel::trace::SpanContext parse_traceparent(std::string_view text) {
  const auto invalid = otel::trace::SpanContext::GetInvalid();
  if (text.size() != 55 || text.substr(0, 3) != "00-" || text[35] != '-' || text[52] != '-') {
    return invalid;
  }
  uint8_t trace_id[16];
  uint8_t span_id[8];
  if (!parse_id(text.substr(3, 32), trace_id) || !parse_id(text.substr(36, 16), span_id)) {
    return invalid;
  }
  const int high = hex_value(text[53]);
  const int low = hex_value(text[54]);
  if (high < 0 || low < 0) return invalid;
  return otel::trace::SpanContext(otel::trace::TraceId(trace_id), otel::trace::SpanId(span_id),
                                  otel::trace::TraceFlags(static_cast<uint8_t>(low & 1)), true);
}

otel::trace::SpanKind to_otel(SpanKind kind) {
  switch (kind) {
    case SpanKind::internal: return otel::trace::SpanKind::kInternal;
    case SpanKind::server: return otel::trace::SpanKind::kServer;
    case SpanKind::client: return otel::trace::SpanKind::kClient;
    case SpanKind::producer: return otel::trace::SpanKind::kProducer;
    case SpanKind::consumer: return otel::trace::SpanKind::kConsumer;
  }
  return otel::trace::SpanKind::kInternal;
}

otel::nostd::string_view as_otel(std::string_view text) { return {text.data(), text.size()}; }


std::string to_traceparent(const otel::trace::SpanContext& context) {
  char text[55] = {'0', '0', '-'};
  context.trace_id().ToLowerBase16(otel::nostd::span<char, 32>(text + 3, 32));
  text[35] = '-';
  context.span_id().ToLowerBase16(otel::nostd::span<char, 16>(text + 36, 16));
  text[52] = '-';
  context.trace_flags().ToLowerBase16(otel::nostd::span<char, 2>(text + 53, 2));
  return std::string(text, sizeof text);
}

// ---- starting a span --------------------------------------------------------------------------

otel::nostd::shared_ptr<otel::trace::Span> start_span(std::string_view name,
                                                      const SpanOptions& options,
                                                      otel::trace::StartSpanOptions start = {}) {
  start.kind = to_otel(options.kind);
  if (options.is_root) {
    start.parent = otel::context::Context(otel::trace::kIsRootSpanKey, true);
  } else if (!options.parent.empty()) {
    const auto parent = parse_traceparent(options.parent);
    if (parent.IsValid()) start.parent = parent;
  }
  const std::string clean_name = clean_utf8(name, kMaxAttributeBytes);
  span_hooks().weight = options.weight;
  if (options.links.empty()) return tracer()->StartSpan(as_otel(clean_name), start);
  std::vector<std::pair<otel::trace::SpanContext, std::map<std::string, std::string>>> links;
  for (const std::string& link : options.links) {
    const auto context = parse_traceparent(link);
    if (context.IsValid()) links.emplace_back(context, std::map<std::string, std::string>());
  }
  const std::map<std::string, std::string> no_attributes;
  return tracer()->StartSpan(as_otel(clean_name), no_attributes, links, start);
}

void end_span(otel::trace::Span& span, bool failed, const otel::trace::EndSpanOptions& how = {}) {
  span_hooks().is_unwanted = !failed && !span.GetContext().IsSampled();
  span.End(how);
  span_hooks().is_unwanted = false;
}

void set_failed(otel::trace::Span& span, std::string_view type, std::string_view message) {
  const std::string clean_type = clean_utf8(type, kMaxAttributeBytes);
  const std::string clean = clean_utf8(message, kMaxAttributeBytes);
  span.SetAttribute(kErrorType, as_otel(clean_type));
  span.SetStatus(otel::trace::StatusCode::kError, as_otel(clean));
}

}  // namespace

SpanOptions following(SpanKind kind, const std::string& cause, std::chrono::microseconds age) {
  SpanOptions options;
  options.kind = kind;
  if (age < kTraceAge) {
    options.parent = cause;
  } else {
    options.is_root = true;
    options.links = {cause};
  }
  return options;
}

// ---- Span --------------------------------------------------------------------------------------

struct Span::Impl {
  otel::nostd::shared_ptr<otel::trace::Span> span;
  std::optional<otel::trace::Scope> scope;  // while it is the thread's active one
  int exceptions = 0;                       // under way when it began
  bool failed = false;
};

Span::Span(std::string_view name, const SpanOptions& options) : impl_(std::make_unique<Impl>()) {
  impl_->span = start_span(name, options);
  impl_->scope.emplace(impl_->span);
  impl_->exceptions = std::uncaught_exceptions();
}

Span::Span(std::string_view name, SpanKind kind, std::string_view parent_traceparent)
    : Span(name, SpanOptions{kind, std::string(parent_traceparent), {}, false, Weight::change}) {}

Span::Span(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::unique_ptr<Span> Span::unattached(std::string_view name, const SpanOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->span = start_span(name, options);
  return std::unique_ptr<Span>(new Span(std::move(impl)));
}

Span::~Span() {
  const bool thrown = impl_->scope && std::uncaught_exceptions() > impl_->exceptions;
  if (thrown && !impl_->failed) fail("exception");
  end_span(*impl_->span, impl_->failed);
}

void Span::set(std::string_view key, std::string_view value) {
  const std::string clean = clean_utf8(value, kMaxAttributeBytes);
  impl_->span->SetAttribute(as_otel(key), as_otel(clean));
}

void Span::set(std::string_view key, int64_t value) {
  impl_->span->SetAttribute(as_otel(key), value);
}

void Span::event(std::string_view name) {
  const std::string clean = clean_utf8(name, kMaxAttributeBytes);
  impl_->span->AddEvent(as_otel(clean));
}

void Span::fail(std::string_view type, std::string_view message) {
  impl_->failed = true;
  set_failed(*impl_->span, type, message);
}

std::string Span::traceparent() const { return to_traceparent(impl_->span->GetContext()); }

std::string Span::trace_id() const {
  char text[32];
  impl_->span->GetContext().trace_id().ToLowerBase16(text);
  return std::string(text, sizeof text);
}

bool is_traceparent(std::string_view text) { return parse_traceparent(text).IsValid(); }

// ---- traces that nobody holds open -------------------------------------------------------------

std::string root_of(std::string_view seed) {
  const std::string digest = hex(sha256(seed));
  return "00-" + digest.substr(0, 32) + "-" + digest.substr(32, 16) + "-01";
}

void tell(const Told& root) {
  const std::string own = root_of(root.seed);
  SpanOptions options;
  options.is_root = true;
  for (const std::string& link : root.links) {
    if (link.substr(0, 35) != own.substr(0, 35)) options.links.push_back(link);
  }
  otel::trace::StartSpanOptions start;
  const auto now = std::chrono::system_clock::now();
  const auto age = std::max(now - root.begun, std::chrono::system_clock::duration::zero());
  start.start_system_time = otel::common::SystemTimestamp(now - age);
  start.start_steady_time = otel::common::SteadyTimestamp(
      std::chrono::steady_clock::now() - std::chrono::nanoseconds(age));
  span_hooks().own = parse_traceparent(own);
  const auto span = start_span(root.name, options, start);
  span_hooks().own = otel::trace::SpanContext::GetInvalid();
  for (const auto& [key, value] : root.attributes) {
    const std::string clean = clean_utf8(value, kMaxAttributeBytes);
    span->SetAttribute(as_otel(key), as_otel(clean));
  }
  if (!root.error_type.empty()) set_failed(*span, root.error_type, {});
  end_span(*span, !root.error_type.empty());
}

}  // namespace trunkline::telemetry
