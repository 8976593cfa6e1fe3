// The JetStream streams and consumers of Trunkline, and keeping them there: NATS may lose any of
// them at any time, the truth is in the log.
#pragma once

#include <string>

#include "bus/bus.h"

namespace trunkline::bus {

inline constexpr char kCommandStream[] = "TL_CMD";  // work queue, subjects tl.cmd.>
inline constexpr char kEventStream[] = "TL_EVT";    // limits, subjects tl.evt.>

inline std::string command_subject(const std::string& service, const std::string& aggregate_id) {
  return "tl.cmd." + service + "." + aggregate_id;
}
inline std::string event_subject(const std::string& aggregate, const std::string& uuid) {
  return "tl.evt." + aggregate + "." + uuid;
}
inline std::string task_subject(const std::string& host) { return "tl.task." + host; }
inline std::string lease_subject(const std::string& host) { return "tl.lease." + host; }
inline std::string log_subject(const std::string& host) { return "tl.logs." + host; }
inline std::string report_subject(const std::string& host) { return "tl.report." + host; }
inline std::string stats_subject(const std::string& host) { return "tl.stats." + host; }
inline std::string route_subject(const std::string& instance_id) {
  return "tl.route." + instance_id;
}
inline std::string primary_subject(const std::string& instance_id) {
  return "tl.primary." + instance_id;
}
inline std::string traffic_subject(const std::string& proxy) { return "tl.traffic." + proxy; }
inline constexpr char kLookupSubject[] = "tl.query.lookup";
inline constexpr char kMeteringSubject[] = "tl.query.metering";
inline constexpr char kReplicationSubject[] = "tl.query.replication";
inline constexpr char kAppendedSubject[] = "tl.log.appended";  // hint to the relay
inline constexpr char kAnswerToHeader[] = "Tl-Answer-To";      // inbox for a CommandAnswer
inline constexpr char kTraceparentHeader[] = "traceparent";

// Creates what is missing; safe to repeat. Throws BusUnavailable.
void ensure_command_stream(Bus& bus);
void ensure_event_stream(Bus& bus);
// A durable consumer on tl.cmd.<service>.> that pushes to command_delivery_subject(service), with
// explicit acknowledgement and unlimited redelivery.
void ensure_command_consumer(Bus& bus, const std::string& service);
std::string command_delivery_subject(const std::string& service);  // "tl.deliver.<service>"

}  // namespace trunkline::bus
