#include "runtime/audit.h"

#include "telemetry/log_line.h"

namespace trunkline::runtime {
namespace {

constexpr size_t kLongest = 256;

const char* outcome_of(const v1::CommandAnswer& answer) {
  switch (answer.outcome_case()) {
    case v1::CommandAnswer::kAccepted: return "accepted";
    case v1::CommandAnswer::kIgnored: return "ignored";
    case v1::CommandAnswer::kRejected: return "rejected";
    case v1::CommandAnswer::kUnavailable:
    case v1::CommandAnswer::OUTCOME_NOT_SET: break;
  }
  return "";
}

// The database takes no U+0000 in JSON, and a terminal is not to be driven by who names himself.
void put(std::string& out, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  std::string clean(value.substr(0, kLongest));
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  out += out.size() > 1 ? ",\"" : "\"";
  out += key;
  out += "\":";
  telemetry::append_json_string(out, clean, kLongest);
}

}  // namespace

std::string audit_json(const v1::Command& command, std::string_view stream, std::string_view name,
                       const v1::CommandAnswer& answer) {
  std::string out = "{";
  put(out, "actor", command.actor());
  put(out, "role", command.origin().role());
  put(out, "project_id", command.origin().project_id());
  put(out, "client_address", command.origin().client_address());
  put(out, "user_agent", command.origin().user_agent());
  put(out, "command", name);
  put(out, "target", stream);
  put(out, "outcome", outcome_of(answer));
  put(out, "rule", answer.rejected().rule());
  put(out, "traceparent", command.traceparent());
  out += '}';
  return out;
}

}  // namespace trunkline::runtime
