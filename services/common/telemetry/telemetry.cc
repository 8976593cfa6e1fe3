#include "telemetry/telemetry.h"

#include <opentelemetry/exporters/otlp/otlp_http_exporter_factory.h>
#include <opentelemetry/exporters/otlp/otlp_http_exporter_options.h>
#include <opentelemetry/sdk/common/global_log_handler.h>
#include <opentelemetry/sdk/resource/resource.h>
#include <opentelemetry/sdk/trace/batch_span_processor_factory.h>
#include <opentelemetry/sdk/trace/batch_span_processor_options.h>
#include <opentelemetry/sdk/trace/processor.h>
#include <opentelemetry/sdk/trace/random_id_generator_factory.h>
#include <opentelemetry/sdk/trace/sampler.h>
#include <opentelemetry/sdk/trace/tracer_provider.h>
#include <opentelemetry/sdk/trace/tracer_provider_factory.h>
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
#include "telemetry/attributes.h"
#include "telemetry/log_line.h"
#include "telemetry/tracer.h"

namespace trunkline::telemetry {

namespace otel = opentelemetry;

namespace {

namespace sdk = opentelemetry::sdk;
namespace otlp = opentelemetry::exporter::otlp;

constexpr std::chrono::milliseconds kExportTimeout{600};
constexpr std::chrono::milliseconds kExportPause{500};
constexpr size_t kQueueSpans = 4096;  // with kBatchSpans and kExportTimeout: what bounds stop()
constexpr size_t kBatchSpans = 2048;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string machine_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? clean_utf8(name, sizeof name) : "unknown";
}

// ---- tracer ----------------------------------------------------------------------------------

struct Tracing {
  std::shared_ptr<sdk::trace::TracerProvider> provider;
  otel::nostd::shared_ptr<otel::trace::Tracer> tracer;
};

class RuleSampler : public sdk::trace::Sampler {
 public:
  explicit RuleSampler(Sampling sampling) : sampling_(sampling) {}

  // What is not sampled is recorded all the same, for it may fail; unless all is off.
  sdk::trace::SamplingResult ShouldSample(
      const otel::trace::SpanContext& parent, otel::trace::TraceId trace_id,
      otel::nostd::string_view, otel::trace::SpanKind, const otel::common::KeyValueIterable&,
      const otel::trace::SpanContextKeyValueIterable&) noexcept override {
    std::optional<bool> parent_sampled;
    if (parent.IsValid()) parent_sampled = parent.IsSampled();
    uint64_t number = 0;
    for (const uint8_t byte : trace_id.Id()) number = number << 8 | byte;  // the last eight
    using sdk::trace::Decision;
    const bool sampled = is_sampled(sampling_, parent_sampled, span_hooks().weight, number);
    const Decision decision = sampled          ? Decision::RECORD_AND_SAMPLE
                              : sampling_.off ? Decision::DROP
                                              : Decision::RECORD_ONLY;
    return {decision, nullptr, parent.trace_state()};
  }
  otel::nostd::string_view GetDescription() const noexcept override { return "RuleSampler"; }

 private:
  const Sampling sampling_;
};

// Lets the recorded spans go that are neither sampled nor failed.
class SelectingProcessor : public sdk::trace::SpanProcessor {
 public:
  explicit SelectingProcessor(std::unique_ptr<sdk::trace::SpanProcessor> next)
      : next_(std::move(next)) {}
  std::unique_ptr<sdk::trace::Recordable> MakeRecordable() noexcept override {
    return next_->MakeRecordable();
  }
  void OnStart(sdk::trace::Recordable& span,
               const otel::trace::SpanContext& parent) noexcept override {
    next_->OnStart(span, parent);
  }
  void OnEnd(std::unique_ptr<sdk::trace::Recordable>&& span) noexcept override {
    if (span_hooks().is_unwanted) return;
    next_->OnEnd(std::move(span));
  }
  bool ForceFlush(std::chrono::microseconds timeout) noexcept override {
    return next_->ForceFlush(timeout);
  }
  bool Shutdown(std::chrono::microseconds timeout) noexcept override {
    return next_->Shutdown(timeout);
  }

 private:
  const std::unique_ptr<sdk::trace::SpanProcessor> next_;
};

// Random ids, but where a span says its own.
class HookedIds : public sdk::trace::IdGenerator {
 public:
  HookedIds() : IdGenerator(false), random_(sdk::trace::RandomIdGeneratorFactory::Create()) {}
  otel::trace::SpanId GenerateSpanId() noexcept override {
    const auto& own = span_hooks().own;
    return own.IsValid() ? own.span_id() : random_->GenerateSpanId();
  }
  otel::trace::TraceId GenerateTraceId() noexcept override {
    const auto& own = span_hooks().own;
    return own.IsValid() ? own.trace_id() : random_->GenerateTraceId();
  }

 private:
  const std::unique_ptr<sdk::trace::IdGenerator> random_;
};

Tracing make_tracing(std::vector<std::unique_ptr<sdk::trace::SpanProcessor>> processors,
                     const sdk::resource::Resource& resource, Sampling sampling) {
  Tracing tracing;
  tracing.provider = sdk::trace::TracerProviderFactory::Create(
      std::move(processors), resource, std::make_unique<RuleSampler>(sampling),
      std::make_unique<HookedIds>());
  tracing.tracer = tracing.provider->GetTracer("trunkline", TRUNKLINE_VERSION, kSchemaUrl);
  return tracing;
}

// Never destroyed: spans may end in destructors of statics.
struct State {
  std::mutex mutex;
  Tracing tracing = make_tracing({}, sdk::resource::Resource::GetEmpty(), {});
};
State& state() {
  static State* instance = new State;
  return *instance;
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
  return std::make_unique<SelectingProcessor>(sdk::trace::BatchSpanProcessorFactory::Create(
      otlp::OtlpHttpExporterFactory::Create(exporter), batch));
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

}  // namespace

SpanHooks& span_hooks() {
  thread_local SpanHooks hooks;
  return hooks;
}

otel::nostd::shared_ptr<otel::trace::Tracer> tracer() {
  State& s = state();
  std::lock_guard lock(s.mutex);
  return s.tracing.tracer;
}

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
  const auto resource = sdk::resource::Resource::Create({{"service.namespace", "trunkline"},
                                                         {"service.name", service_name},
                                                         {"service.version", TRUNKLINE_VERSION},
                                                         {"service.instance.id", instance},
                                                         {"host.name", machine_name()}},
                                                        kSchemaUrl);
  std::string why_not;
  const Sampling sampling = read_sampling(environment("OTEL_TRACES_SAMPLER"),
                                          environment("OTEL_TRACES_SAMPLER_ARG"), &why_not);
  if (!why_not.empty()) spdlog::warn("{}; the default holds", why_not);
  Tracing tracing = make_tracing(std::move(processors), resource, sampling);
  State& s = state();
  std::lock_guard lock(s.mutex);
  std::swap(s.tracing, tracing);
}

void stop() {
  // What ends from here on has ids but goes nowhere.
  Tracing stopping = make_tracing({}, sdk::resource::Resource::GetEmpty(), {});
  {
    State& s = state();
    std::lock_guard lock(s.mutex);
    std::swap(s.tracing, stopping);
  }
  stopping.provider->Shutdown();
  spdlog::default_logger()->flush();
}

}  // namespace trunkline::telemetry
