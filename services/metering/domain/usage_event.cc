#include "metering/domain/usage_event.h"

#include "base/clock.h"

namespace trunkline::metering {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Ids, words of ours and URLs of the configuration.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

std::string time_text(int64_t ms) { return quoted(format_rfc3339(from_unix_us(ms * 1000))); }

}  // namespace

std::string usage_event(const UsageRecord& record, const EventOrigin& origin) {
  std::string json = "{\"specversion\":\"1.0\",\"id\":" + quoted(record.id) +
                     ",\"source\":" + quoted(origin.source) + ",\"type\":\"" + kUsageEventType +
                     "\",\"subject\":" + quoted(record.project_id) +
                     ",\"time\":" + time_text(record.window.end_ms) +
                     ",\"datacontenttype\":\"application/json\",\"dataschema\":" +
                     quoted(origin.data_schema) + ",\"data\":{\"instance\":" +
                     quoted(record.instance_id) + ",\"node\":" +
                     (record.node_id.empty() ? "null" : quoted(record.node_id)) +
                     ",\"window_start\":" + time_text(record.window.start_ms) +
                     ",\"window_end\":" + time_text(record.window.end_ms) + ",\"kind\":\"" +
                     (record.is_correction ? "correction" : "original") +
                     "\",\"position\":" + std::to_string(record.position);
  const MeterOf of = record.node_id.empty() ? MeterOf::instance : MeterOf::node;
  for (const MeterInfo& meter : meters()) {
    if (meter.of != of) continue;
    json += ",\"";
    json += meter.name;
    if (!meter.state.empty()) json += "_" + lower(meter.state);
    json += "\":" + unit_text(meter.meter, at(record.amounts, meter.meter));
  }
  return json + "}}";
}

}  // namespace trunkline::metering
