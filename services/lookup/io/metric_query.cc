#include "lookup/io/metric_query.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lookup/domain/fleet_document.h"
#include "runtime/random.h"

namespace trunkline::lookup {
namespace {

using nlohmann::json;

constexpr int64_t kMostPoints = 500;
constexpr int64_t kUsualPoints = 120;
constexpr int64_t kLeastStepMs = 10'000;
constexpr int64_t kLongestMs = 31 * kDayMs;
constexpr int kMostShown = 500;

int64_t now_ms() { return to_unix_us(runtime::now()) / 1000; }

std::string text_of(const json& document, const char* key) {
  const auto found = document.find(key);
  return found != document.end() && found->is_string() ? found->get<std::string>() : "";
}
uint64_t number_of(const json& document, const char* key) {
  const auto found = document.find(key);
  return found != document.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

ShownInstance shown_instance(const json& document) {
  ShownInstance out;
  out.id = text_of(document, "uuid");
  out.name = text_of(document, "name");
  out.status = text_of(document, "status");
  out.cpu = number_of(document, "cpu");
  out.ram_mb = number_of(document, "ram");
  out.disk_gb = number_of(document, "disk_size");
  for (const auto& node : document.value("nodes", json::array())) {
    out.nodes.push_back({text_of(node, "uuid"), text_of(node, "host"), text_of(node, "role")});
  }
  return out;
}

FleetHost fleet_host(const std::string& text, const std::map<std::string, HostNow>& measured) {
  const json document = json::parse(text);
  FleetHost out;
  out.document = text;
  out.name = text_of(document, "name");
  out.available = document.value("available", false);
  out.disk_gb = number_of(document, "disk_size");
  out.disk_free_gb = number_of(document, "disk_free");
  const auto found = measured.find(out.name);
  if (found == measured.end()) return out;
  const HostNow& now = found->second;
  out.measured = true;
  out.measured_at = now.at;
  out.cpu_cores = now.cpu_cores;
  out.memory_mb = now.memory_mb;
  out.memory_available_mb = now.memory_available_mb;
  out.load_1m = now.load_1m;
  return out;
}

// Instances as documents, those first that need somebody's eyes, then rows that count all of them.
// One statement, because what it costs is to parse every document, which it does once.
std::string fleet_statement() {
  const std::string columns = kDocumentColumns;
  return "WITH every AS MATERIALIZED (SELECT " + columns + ", x.status, x.version, x.status = "
         "'ACTIVE' AS calm FROM " + std::string(kSchema) + ".documents, json_to_record(doc) AS "
         "x(status text, version text) WHERE kind = 'instance'), shown AS (SELECT * FROM every "
         "ORDER BY calm, created_us, uuid LIMIT " + std::to_string(kMostShown) + ") "
         "SELECT *, NULL::bigint AS counted FROM shown UNION ALL SELECT NULL, NULL, NULL, NULL, "
         "NULL, NULL, NULL, status, version, NULL, count(*) FROM every GROUP BY status, version "
         "ORDER BY counted NULLS FIRST, calm, created_us, uuid";
}

}  // namespace

std::string settle_span(int64_t now, TimeSpan* span) {
  if (span->to_ms == 0) span->to_ms = now;
  if (span->from_ms == 0) span->from_ms = span->to_ms - kHourMs;
  const int64_t length = span->to_ms - span->from_ms;
  if (span->from_ms < 0 || length <= 0) return "from: must be before to";
  if (length > kLongestMs) return "from: at most 31 days before to";
  if (span->step_ms == 0) {
    span->step_ms = std::max(kLeastStepMs, length / kUsualPoints / kLeastStepMs * kLeastStepMs);
  }
  // Finer is not there.
  if (span->from_ms < now - kDayMs) span->step_ms = std::max(span->step_ms, kBucketMs);
  if (span->step_ms < kLeastStepMs) return "step: at least 10 seconds";
  if (length / span->step_ms > kMostPoints) return "step: more than 500 points";
  return "";
}

MetricQueries::Answer MetricQueries::metrics(const Document& instance,
                                             const v1::GetMetrics& wish) const {
  ShownInstance shown = shown_instance(json::parse(instance.json));
  fleet_.fill(shown.nodes);
  const int64_t now = now_ms();
  TimeSpan span{wish.from_unix_ms(), wish.to_unix_ms(), wish.step_ms()};
  if (auto wrong = settle_span(now, &span); !wrong.empty()) return {"", wrong};
  std::vector<MetricSeries> series;
  model_.with_connection([&](pqxx::connection& connection) {
    series = node_series(connection, shown.id, span.from_ms, span.to_ms, span.step_ms, now);
  });
  return {instance_metrics_json(shown, span, series), ""};
}

MetricQueries::Answer MetricQueries::report(const Document& instance,
                                            const v1::GetDatabaseReport& wish) const {
  const auto document =
      model_.load({DocKind::database, wish.database_id(), instance.key.uuid});
  if (!document) return {};
  const json parsed = json::parse(document->json);
  ShownInstance shown = shown_instance(json::parse(instance.json));
  fleet_.fill(shown.nodes);
  const int64_t now = now_ms();
  TimeSpan span{wish.from_unix_ms(), wish.to_unix_ms(), wish.step_ms()};
  if (span.from_ms == 0) span.from_ms = (span.to_ms == 0 ? now : span.to_ms) - kDayMs + kBucketMs;
  if (auto wrong = settle_span(now, &span); !wrong.empty()) return {"", wrong};
  std::vector<MetricSeries> series;
  model_.with_connection([&](pqxx::connection& connection) {
    series = database_series(connection, shown.id, wish.database_id(), span.from_ms, span.to_ms,
                             std::max<int64_t>(span.step_ms, 60'000));
  });
  span.step_ms = std::max<int64_t>(span.step_ms, 60'000);
  const ShownDatabase database{wish.database_id(), text_of(parsed, "name"),
                               text_of(parsed, "owner")};
  return {database_report_json(shown, database, span, series, runtime::now()), ""};
}

std::string MetricQueries::prometheus(const Document& instance) const {
  ShownInstance shown = shown_instance(json::parse(instance.json));
  fleet_.fill(shown.nodes);
  return instance_metrics_text(shown, runtime::now());
}

std::string MetricQueries::fleet(const std::function<std::string(const Document&)>& shown,
                                 std::vector<TroubledWebhook> webhooks) const {
  Fleet fleet;
  fleet.webhooks = std::move(webhooks);
  const auto measured = fleet_.hosts();
  std::vector<Document> hosts, instances;
  const std::string columns = std::string("SELECT ") + kDocumentColumns + " FROM " + kSchema +
                              ".documents WHERE kind = ";
  model_.with_connection([&](pqxx::connection& connection) {
    pqxx::nontransaction session(connection);
    for (const auto& row : session.exec(columns + "'host' ORDER BY doc->>'name' LIMIT " +
                                        std::to_string(kMostShown))) {
      hosts.push_back(document_of(row));
    }
    for (const auto& row : session.exec(fleet_statement())) {
      if (!row["counted"].is_null()) {
        const auto counted = row["counted"].as<uint64_t>();
        fleet.by_status[row["status"].c_str()] += counted;
        fleet.by_version[row["version"].c_str()] += counted;
      } else {
        instances.push_back(document_of(row));
      }
    }
  });
  for (const Document& host : hosts) fleet.hosts.push_back(fleet_host(shown(host), measured));
  for (const Document& document : instances) {
    const json parsed = json::parse(document.json);
    FleetInstance instance;
    instance.shown = shown_instance(parsed);
    instance.project_id = document.project_id;
    instance.version = text_of(parsed, "version");
    if (parsed.contains("failover")) {
      instance.failover_rule = text_of(parsed.at("failover"), "rule");
    }
    fleet_.fill(instance.shown.nodes, FleetStats::Detail::figures_only);
    fleet.instances.push_back(std::move(instance));
  }
  return fleet_json(fleet, runtime::now());
}

}  // namespace trunkline::lookup
