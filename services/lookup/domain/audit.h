// Commands and what became of them, as the audit log shows them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "trunkline/v1/query.pb.h"

namespace trunkline::lookup {

// A row of log.command_result; what is not known is empty.
struct AuditRow {
  std::string command_id;
  int64_t recorded_us = 0;
  std::string actor;
  std::string role;
  std::string project_id;
  std::string client_address;
  std::string user_agent;
  std::string command;
  std::string target;  // stream
  std::string outcome;
  std::string traceparent;
  std::string answer;  // serialized CommandAnswer
};

// One JSON object. `all_projects`: who reads it sees all; others are not told where the platform's
// administrators sit.
std::string audit_json(const AuditRow& row, bool all_projects);

// Where a page ended; nothing if the text is no marker.
struct AuditPlace {
  int64_t recorded_us = 0;
  std::string command_id;
};
std::string marker_of(const AuditRow& row);
std::optional<AuditPlace> parse_audit_marker(std::string_view marker);

// The project whose entries alone may be shown; nothing: those of all. A scope without a project
// sees nothing.
struct AuditScope {
  bool nothing = false;
  std::optional<std::string> project;
};
AuditScope audit_scope(const v1::Scope& scope, const v1::ListAudit& wish);

}  // namespace trunkline::lookup
