#include "telemetry/telemetry.h"

#include <opentelemetry/exporters/otlp/otlp_http_exporter_factory.h>
#include <opentelemetry/exporters/otlp/otlp_http_exporter_options.h>
#include <opentelemetry/sdk/common/global_log_handler.h>
#include <opentelemetry/sdk/resource/resource.h>
#include <opentelemetry/sdk/trace/batch_span_processor_factory.h>
#include <opentelemetry/sdk/trace/batch_span_processor_options.h>
#include <opentelemetry/sdk/trace/processor.h>
#include <opentelemetry/sdk/trace/tracer_provider.h>
#include <opentelemetry/sdk/trace/tracer_provider_factory.h>
#include <opentelemetry/trace/default_span.h>
#include <opentelemetry/trace/scope.h>
#include <opentelemetry/trace/tracer.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "telemetry/log_line.h"

namespace trunkline::telemetry {
namespace {

namespace otel = opentelemetry;
namespace sdk = opentelemetry::sdk;
namespace otlp = opentelemetry::exporter::otlp;

constexpr size_t kMaxAttributeBytes = 4096;
constexpr std::chrono::milliseconds kExportTimeout{600};
constexpr std::chrono::milliseconds kExportPause{500};
constexpr size_t kQueueSpans = 2048;  // with kBatchSpans and kExportTimeout: what bounds stop()
constexpr size_t kBatchSpans = 1024;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// ---- tracer ----------------------------------------------------------------------------------

struct Tracing {
  std::shared_ptr<sdk::trace::TracerProvider> provider;
  otel::nostd::shared_ptr<otel::trace::Tracer> tracer;
};

Tracing make_tracing(std::vector<std::unique_ptr<sdk::trace::SpanProcessor>> processors,
                     const sdk::resource::Resource& resource) {
  Tracing tracing;
  tracing.provider =
      sdk::trace::TracerProviderFactory::Create(std::move(processors), resource);
  tracing.tracer = tracing.provider->GetTracer("trunkline");
  return tracing;
}

// Never destroyed: spans may end in destructors of statics.
struct State {
  std::mutex mutex;
  Tracing tracing = make_tracing({}, sdk::resource::Resource::GetEmpty());
};
State& state() {
  static State* instance = new State;
  return *instance;
}

otel::nostd::shared_ptr<otel::trace::Tracer> tracer() {
  State& s = state();
  std::lock_guard lock(s.mutex);
  return s.tracing.tracer;
}

std::unique_ptr<sdk::trace::SpanProcessor> make_exporting_processor(std::string endpoint) {
  while (!endpoint.empty() && endpoint.back() == '/') endpoint.pop_back();
  otlp::OtlpHttpExporterOptions exporter;
  exporter.url = endpoint + "/v1/traces";
  exporter.content_type = environment("OTEL_EXPORTER_OTLP_PROTOCOL") == "http/json"
                              ? otlp::HttpRequestContentType::kJson
                              : otlp::HttpRequestContentType::kBinary;
  exporter.json_bytes_mapping = otlp::JsonBytesMappingKind::kHexId;
  exporter.timeout = kExportTimeout;
  exporter.retry_policy_max_attempts = 0;
  sdk::trace::BatchSpanProcessorOptions batch;
  batch.max_queue_size = kQueueSpans;
  batch.max_export_batch_size = kBatchSpans;
  batch.schedule_delay_millis = kExportPause;
  return sdk::trace::BatchSpanProcessorFactory::Create(
      otlp::OtlpHttpExporterFactory::Create(exporter), batch);
}

// A collector that is away would fill the log with one line a batch.
class SdkLogHandler : public sdk::common::internal_log::LogHandler {
 public:
  void Handle(sdk::common::internal_log::LogLevel level, const char*, int, const char* message,
              const sdk::common::AttributeMap&) noexcept override {
    if (level > sdk::common::internal_log::LogLevel::Warning || message == nullptr) return;
    const int64_t now_s = std::chrono::duration_cast<std::chrono::seconds>(
                              std::chrono::steady_clock::now().time_since_epoch())
                              .count();
    int64_t silent_until = silent_until_s_.load();
    if (now_s < silent_until) return;
    if (!silent_until_s_.compare_exchange_strong(silent_until, now_s + 60)) return;
    try {
      spdlog::warn("trace export: {}", message);
    } catch (...) {
    }
  }

 private:
  std::atomic<int64_t> silent_until_s_{0};
};

// ---- log -------------------------------------------------------------------------------------

class JsonFormatter : public spdlog::formatter {
 public:
  JsonFormatter(std::string service, std::string instance)
      : service_(std::move(service)), instance_(std::move(instance)) {}

  void format(const spdlog::details::log_msg& msg, spdlog::memory_buf_t& dest) override {
    const std::string ts = format_rfc3339(
        std::chrono::time_point_cast<std::chrono::microseconds>(msg.time));
    const auto level = spdlog::level::to_string_view(msg.level);
    LogLine line;
    line.ts = ts;
    line.level = {level.data(), level.size()};
    line.service = service_;
    line.instance = instance_;
    line.msg = {msg.payload.data(), msg.payload.size()};
    char trace_id[32];
    char span_id[16];
    const auto span = otel::trace::Tracer::GetCurrentSpan();
    const otel::trace::SpanContext context = span->GetContext();
    if (context.IsValid()) {
      context.trace_id().ToLowerBase16(trace_id);
      context.span_id().ToLowerBase16(span_id);
      line.trace_id = {trace_id, sizeof trace_id};
      line.span_id = {span_id, sizeof span_id};
    }
    const std::string text = format_log_line(line);
    dest.append(text.data(), text.data() + text.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>(service_, instance_);
  }

 private:
  std::string service_;
  std::string instance_;
};

void start_log(const std::string& service_name, const std::string& instance_name) {
  auto logger = std::make_shared<spdlog::logger>(
      service_name, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::make_unique<JsonFormatter>(service_name, instance_name));
  const std::string level = environment("TRUNKLINE_LOG_LEVEL");
  logger->set_level(level.empty() ? spdlog::level::info : spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

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

}  // namespace

// ---- start and stop ----------------------------------------------------------------------------

void start(const std::string& service_name, const std::string& instance_name) {
  start_log(service_name, instance_name);
  otel::nostd::shared_ptr<sdk::common::internal_log::LogHandler> handler(new SdkLogHandler);
  sdk::common::internal_log::GlobalLogHandler::SetLogHandler(handler);

  const std::string endpoint = environment("OTEL_EXPORTER_OTLP_ENDPOINT");
  std::vector<std::unique_ptr<sdk::trace::SpanProcessor>> processors;
  if (!endpoint.empty()) processors.push_back(make_exporting_processor(endpoint));
  const std::string instance =
      instance_name.empty() ? std::to_string(getpid()) : instance_name;
  const auto resource = sdk::resource::Resource::Create(
      {{"service.name", service_name}, {"service.instance.id", instance}});
  Tracing tracing = make_tracing(std::move(processors), resource);
  State& s = state();
  std::lock_guard lock(s.mutex);
  std::swap(s.tracing, tracing);
}

void stop() {
  // What ends from here on has ids but goes nowhere.
  Tracing stopping = make_tracing({}, sdk::resource::Resource::GetEmpty());
  {
    State& s = state();
    std::lock_guard lock(s.mutex);
    std::swap(s.tracing, stopping);
  }
  stopping.provider->Shutdown();
  spdlog::default_logger()->flush();
}

// ---- Span --------------------------------------------------------------------------------------

namespace {

otel::nostd::shared_ptr<otel::trace::Span> start_span(std::string_view name, SpanKind kind,
                                                      std::string_view parent_traceparent) {
  otel::trace::StartSpanOptions options;
  options.kind = to_otel(kind);
  if (!parent_traceparent.empty()) {
    const auto parent = parse_traceparent(parent_traceparent);
    if (parent.IsValid()) options.parent = parent;
  }
  const std::string clean_name = clean_utf8(name, kMaxAttributeBytes);
  return tracer()->StartSpan(as_otel(clean_name), options);
}

}  // namespace

struct Span::Impl {
  otel::nostd::shared_ptr<otel::trace::Span> span;
  std::optional<otel::trace::Scope> scope;  // while it is the thread's active one
};

Span::Span(std::string_view name, SpanKind kind, std::string_view parent_traceparent)
    : impl_(std::make_unique<Impl>()) {
  impl_->span = start_span(name, kind, parent_traceparent);
  impl_->scope.emplace(impl_->span);
}

Span::Span(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::unique_ptr<Span> Span::unattached(std::string_view name, SpanKind kind,
                                       std::string_view parent_traceparent) {
  auto impl = std::make_unique<Impl>();
  impl->span = start_span(name, kind, parent_traceparent);
  return std::unique_ptr<Span>(new Span(std::move(impl)));
}

Span::~Span() { impl_->span->End(); }

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

void Span::error(std::string_view message) {
  const std::string clean = clean_utf8(message, kMaxAttributeBytes);
  impl_->span->SetStatus(otel::trace::StatusCode::kError, as_otel(clean));
}

std::string Span::traceparent() const {
  const otel::trace::SpanContext context = impl_->span->GetContext();
  char text[55] = {'0', '0', '-'};
  context.trace_id().ToLowerBase16(otel::nostd::span<char, 32>(text + 3, 32));
  text[35] = '-';
  context.span_id().ToLowerBase16(otel::nostd::span<char, 16>(text + 36, 16));
  text[52] = '-';
  context.trace_flags().ToLowerBase16(otel::nostd::span<char, 2>(text + 53, 2));
  return std::string(text, sizeof text);
}

std::string Span::trace_id() const {
  char text[32];
  impl_->span->GetContext().trace_id().ToLowerBase16(text);
  return std::string(text, sizeof text);
}

bool is_traceparent(std::string_view text) { return parse_traceparent(text).IsValid(); }

}  // namespace trunkline::telemetry
