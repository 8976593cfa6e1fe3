#include "lookup/domain/audit.h"

#include <charconv>

#include "base/clock.h"
#include "base/ids.h"
#include "lookup/domain/json_writer.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::lookup {
namespace {

constexpr size_t kTraceIdAt = 3;  // in a traceparent
constexpr size_t kTraceIdSize = 32;

}  // namespace

std::string audit_json(const AuditRow& row, bool all_projects) {
  v1::CommandAnswer answer;
  answer.ParseFromString(row.answer);
  const bool hidden = !all_projects && row.role == "admin";
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("time", format_rfc3339(from_unix_us(row.recorded_us)));
  json.text("command_id", row.command_id);
  json.text("actor", row.actor);
  json.text("role", row.role);
  json.text("project_id", row.project_id);
  json.text("client_address", hidden ? "" : row.client_address);
  json.text("user_agent", hidden ? "" : row.user_agent);
  json.text("command", row.command);
  json.text("target", row.target);
  json.text("outcome", row.outcome);
  if (answer.has_rejected()) {
    json.text("rule", answer.rejected().rule());
    json.text("message", answer.rejected().message());
  } else if (row.command == "record_refusals") {
    json.text("message", answer.ignored().why());
  }
  if (row.traceparent.size() > kTraceIdAt + kTraceIdSize) {
    json.text("trace_id", std::string_view(row.traceparent).substr(kTraceIdAt, kTraceIdSize));
  }
  json.end_object();
  return out;
}

std::string marker_of(const AuditRow& row) {
  return std::to_string(row.recorded_us) + "." + row.command_id;
}

std::optional<AuditPlace> parse_audit_marker(std::string_view marker) {
  const size_t dot = marker.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  AuditPlace place;
  const auto [end, error] = std::from_chars(marker.data(), marker.data() + dot, place.recorded_us);
  place.command_id = std::string(marker.substr(dot + 1));
  const bool good = error == std::errc() && end == marker.data() + dot && place.recorded_us > 0 &&
                    is_uuid(place.command_id);
  return good ? std::optional(std::move(place)) : std::nullopt;
}

AuditScope audit_scope(const v1::Scope& scope, const v1::ListAudit& wish) {
  AuditScope out;
  if (scope.all_projects()) {
    if (!wish.project_id().empty()) out.project = wish.project_id();
    return out;
  }
  out.project = scope.project_id();
  const bool other = !wish.project_id().empty() && wish.project_id() != scope.project_id();
  out.nothing = scope.project_id().empty() || other;
  return out;
}

}  // namespace trunkline::lookup
