// The lists that QueryService tells from the log itself, and alerts.
#include <algorithm>

#include "base/ids.h"
#include "lookup/domain/failovers.h"
#include "lookup/domain/history.h"
#include "lookup/io/query_answers.h"
#include "lookup/io/query_service.h"

namespace trunkline::lookup {

using v1::QueryAnswer;

QueryAnswer QueryService::list_events(Connections& own, const v1::Query& query) {
  const v1::ListEvents& list = query.list_events();
  if (!is_uuid(list.instance_id()) || !owns(own, query.scope(), list.instance_id())) {
    return not_found();
  }
  const uint32_t limit = std::min(list.limit() == 0 ? kMaxEvents : list.limit(), kMaxEvents);
  const auto events =
      own.log.history(list.instance_id(), list.after_position(), gate_.position(), limit + 1);
  QueryAnswer answer;
  size_t bytes = 0;
  int64_t last_position = 0;
  for (const auto& event : events) {
    const auto shown_events = static_cast<uint32_t>(answer.json_size());
    if (shown_events == limit || (bytes > kMaxAnswerBytes / 2 && shown_events > 0)) {
      answer.set_next_marker(std::to_string(last_position));
      break;
    }
    answer.add_json(history_json({as_log_event(event), event.metadata.actor,
                                  event.metadata.command_id, event.metadata.correlation_id}));
    bytes += answer.json(answer.json_size() - 1).size();
    last_position = event.position;
  }
  return answer;
}

QueryAnswer QueryService::list_failovers(Connections& own, const v1::Query& query) {
  const v1::ListFailovers& list = query.list_failovers();
  if (!is_uuid(list.instance_id()) || !owns(own, query.scope(), list.instance_id())) {
    return not_found();
  }
  const auto events = own.log.failover_events(list.instance_id(), gate_.position());
  std::vector<HistoryEvent> entries;
  for (const auto& event : events) {
    entries.push_back({as_log_event(event), event.metadata.actor, event.metadata.command_id,
                       event.metadata.correlation_id});
  }
  const uint32_t limit = std::min(list.limit() == 0 ? kMaxEvents : list.limit(), kMaxEvents);
  QueryAnswer answer;
  size_t bytes = 0;
  for (std::string& json : failovers_json(entries, limit)) {
    bytes += json.size();
    if (bytes > kMaxAnswerBytes && answer.json_size() > 0) break;
    answer.add_json(std::move(json));
  }
  return answer;
}

QueryAnswer QueryService::list_alerts(const v1::Query& query) {
  if (!query.scope().all_projects()) return not_found();
  QueryAnswer answer;
  size_t bytes = 0;
  for (const Alert& alert : options_.alerts ? options_.alerts() : std::vector<Alert>()) {
    std::string json = alert_json(alert);
    bytes += json.size();
    if (bytes > kMaxAnswerBytes) break;
    answer.add_json(std::move(json));
  }
  return answer;
}

QueryAnswer QueryService::list_audit(Connections& own, const v1::Query& query) {
  const v1::ListAudit& wish = query.list_audit();
  const AuditScope scope = audit_scope(query.scope(), wish);
  std::optional<AuditPlace> after;
  if (!wish.marker().empty()) {
    after = parse_audit_marker(wish.marker());
    if (!after) return bad_field("marker: is none of ours");
  }
  QueryAnswer answer;
  if (scope.nothing) return answer;
  const size_t limit = std::min(wish.limit() == 0 ? kMaxEvents : wish.limit(), kMaxEvents);
  const auto rows = own.log.audit(wish, scope.project, after, limit + 1);
  size_t bytes = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == limit || (bytes > kMaxAnswerBytes / 2 && i > 0)) {
      answer.set_next_marker(marker_of(rows[i - 1]));
      break;
    }
    answer.add_json(audit_json(rows[i], query.scope().all_projects()));
    bytes += answer.json(answer.json_size() - 1).size();
  }
  return answer;
}

}  // namespace trunkline::lookup
