// trunkline-lookup: the central lookup repository, and the relay of the event log.
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "bus/streams.h"
#include "lookup/io/admin.h"
#include "lookup/io/alert_board.h"
#include "lookup/io/fleet_stats.h"
#include "lookup/io/query_service.h"
#include "lookup/io/route_board.h"
#include "runtime/random.h"
#include "runtime/relay.h"
#include "runtime/service_main.h"

namespace {

using namespace trunkline;

constexpr size_t kCacheBytes = 48 * 1024 * 1024;
constexpr char kAdminSubject[] = "tl.admin.lookup";
constexpr char kReportSubjects[] = "tl.report.>";
constexpr char kStatsSubjects[] = "tl.stats.*";
constexpr char kTrafficSubjects[] = "tl.traffic.*";
constexpr char kQueueGroup[] = "lookup";

void take_report(lookup::LiveStore& live, lookup::RouteBoard& routes, lookup::AlertBoard& alerts,
                 const bus::Message& message) {
  const std::string host = message.subject.substr(sizeof("tl.report.") - 1);
  v1::HostReport report;
  if (!report.ParseFromString(message.data) || report.host() != host) return;
  live.take(host, report, runtime::now());
  routes.take_report(report);
  alerts.take_report(report);
}

void take_stats(lookup::FleetStats& fleet, const bus::Message& message) {
  const std::string host = message.subject.substr(sizeof("tl.stats.") - 1);
  v1::HostStats stats;
  if (stats.ParseFromString(message.data)) fleet.take(host, stats, runtime::now());
}

void take_traffic(lookup::LiveStore& live, const bus::Message& message) {
  const std::string proxy = message.subject.substr(sizeof("tl.traffic.") - 1);
  v1::TrafficReport report;
  if (report.ParseFromString(message.data)) live.take_traffic(proxy, report, runtime::now());
}

lookup::Rendering rendering_of(const runtime::ServiceConfig& config) {
  return {config.raw->value("endpoint_address", std::string())};
}

void serve(const runtime::ServiceConfig& config) {
  const auto bus = runtime::connect_for_ever(config.bus);
  lookup::DocumentCache cache(kCacheBytes);
  lookup::LiveStore live;
  lookup::PositionGate gate;
  lookup::RouteBoard routes(*bus, config.read_model_dsn);
  const runtime::Relay relay(*bus, config.log_dsn);
  lookup::AlertBoard alerts({config.log_dsn, config.read_model_dsn,
                             [&] { return relay.position(); }, [&] { return gate.position(); }});
  lookup::Projector::Options keeping;
  keeping.log_dsn = config.log_dsn;
  keeping.read_model_dsn = config.read_model_dsn;
  keeping.rendering = rendering_of(config);
  keeping.on_change = [&](const lookup::Change& change, int64_t position) {
    routes.take_change(change, position);
    alerts.take_change(change);
  };
  lookup::Projector projector(*bus, keeping, cache, gate);
  lookup::QueryService::Options options;
  options.log_dsn = config.log_dsn;
  options.read_model_dsn = config.read_model_dsn;
  options.ready = [&] { return projector.ready(); };
  options.suspect = [&] { projector.suspect(); };
  options.rendering = keeping.rendering;
  options.alerts = [&] { return alerts.raised(); };
  options.put_live = [&](v1::Route& route) { routes.put_live(route); };
  lookup::MetricHistory history({.dsn = config.read_model_dsn});
  lookup::FleetStats fleet(&history);
  options.fleet = &fleet;
  lookup::QueryService queries(*bus, options, cache, gate, live);
  runtime::AdminLoop admin(*bus, lookup::admin_ops(config.read_model_dsn, projector, gate));

  const auto reports = bus->subscribe(
      kReportSubjects, [&](bus::Message&& message) { take_report(live, routes, alerts, message); });
  const auto statistics = bus->subscribe(
      kStatsSubjects, [&](bus::Message&& message) { take_stats(fleet, message); });
  const auto traffic = bus->subscribe(
      kTrafficSubjects, [&](bus::Message&& message) { take_traffic(live, message); });
  const auto asked = bus->subscribe(
      bus::kLookupSubject, [&](bus::Message&& message) { queries.take(std::move(message)); },
      kQueueGroup);
  const auto ordered = bus->subscribe(
      kAdminSubject, [&](bus::Message&& message) { admin.take(std::move(message)); }, kQueueGroup);
  spdlog::info("lookup is up");
  runtime::wait_for_stop_signal();
}

}  // namespace

int main(int argc, char** argv) {
  return trunkline::runtime::run_service(argc, argv, "lookup", serve);
}
