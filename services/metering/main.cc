// trunkline-metering: what ran and what was counted, as usage that a bill can rest on.
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "metering/io/admin.h"
#include "metering/io/billing.h"
#include "metering/io/usage_meter.h"
#include "metering/io/usage_publisher.h"
#include "runtime/service_main.h"
#include "telemetry/metrics.h"

namespace {

using namespace trunkline;

constexpr char kAdminSubject[] = "tl.admin.metering";
constexpr char kQueueGroup[] = "metering";
constexpr int64_t kHourMs = 3'600'000;

metering::WindowRules rules_of(const nlohmann::json& config) {
  metering::WindowRules rules;
  const auto usage = config.value("usage", nlohmann::json::object());
  rules.length_ms = usage.value("window_ms", rules.length_ms);
  rules.grace_ms = usage.value("grace_ms", rules.grace_ms);
  if (rules.length_ms < 100 || kHourMs % rules.length_ms != 0) {
    throw std::runtime_error("usage.window_ms must divide an hour");
  }
  if (rules.grace_ms < 0) throw std::runtime_error("usage.grace_ms must not be negative");
  return rules;
}

void serve(const runtime::ServiceConfig& config) {
  const std::string dsn = config.raw->value("metering_dsn", std::string());
  const auto bus = runtime::connect_for_ever(config.bus);
  metering::UsagePublisher* publisher = nullptr;
  metering::UsageMeter::Options options;
  options.log_dsn = config.log_dsn;
  options.metering_dsn = dsn;
  options.rules = rules_of(*config.raw);
  options.record_days = config.raw->value("record_days", options.record_days);
  std::mutex publisher_mutex;
  options.on_records = [&] {
    const std::lock_guard lock(publisher_mutex);
    if (publisher != nullptr) publisher->wake();
  };
  metering::UsageMeter meter(*bus, options);

  metering::UsagePublisher::Options publishing;
  publishing.metering_dsn = dsn;
  publishing.origin = {config.raw->value("event_source", std::string("/trunkline")),
                       config.raw->value("event_schema", std::string())};
  publishing.stream_bytes = config.raw->value("usage_stream_bytes", publishing.stream_bytes);
  publishing.may_publish = [&] { return meter.is_active(); };
  metering::UsagePublisher published(*bus, publishing);
  {
    const std::lock_guard lock(publisher_mutex);
    publisher = &published;
  }
  runtime::AdminLoop admin(*bus, metering::admin_ops(dsn, meter));
  metering::Billing billing(*bus, config, [&] { return meter.is_active(); });

  telemetry::GaugeFamily active("trunkline_metering_active",
                                "Whether this process measures and closes windows (1).");
  telemetry::GaugeFamily position("trunkline_metering_position",
                                  "Up to which the log is in metering's database.");
  const telemetry::ScrapeHook shown([&] {
    active.set(meter.is_active() ? 1 : 0);
    position.set(static_cast<double>(meter.position()));
  });

  const auto hear = [&](bus::Message&& message) { meter.hear(message.subject, message.data); };
  const auto stats = bus->subscribe("tl.stats.*", hear);
  const auto traffic = bus->subscribe("tl.traffic.*", hear);
  const auto ordered = bus->subscribe(
      kAdminSubject, [&](bus::Message&& message) { admin.take(std::move(message)); }, kQueueGroup);
  spdlog::info("metering is up");
  runtime::wait_for_stop_signal();
  const std::lock_guard lock(publisher_mutex);
  publisher = nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  return trunkline::runtime::run_service(argc, argv, "metering", serve);
}
