#include "lookup/domain/operation.h"

#include "lookup/domain/json_writer.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::lookup {
namespace {

// Where REST shows what an event of an instance is about.
std::string instance_resource(std::string_view instance_id, const LogEvent& event) {
  using Case = v1::InstanceEvent::BodyCase;
  std::string uri = "/v1/types/postgres/instances/" + std::string(instance_id);
  v1::InstanceEvent message;
  message.ParseFromArray(event.payload.data(), static_cast<int>(event.payload.size()));
  const auto user = [&](const auto& e) { return uri + "/users/" + e.user_id(); };
  const auto database = [&](const auto& e) { return uri + "/databases/" + e.database_id(); };
  switch (message.body_case()) {
    case Case::kUserCreated: return user(message.user_created());
    case Case::kUserUpdated: return user(message.user_updated());
    case Case::kUserActivated: return user(message.user_activated());
    case Case::kUserFailed: return user(message.user_failed());
    case Case::kUserDeleted: return user(message.user_deleted());
    case Case::kDatabaseCreated: return database(message.database_created());
    case Case::kDatabaseUpdated: return database(message.database_updated());
    case Case::kDatabaseActivated: return database(message.database_activated());
    case Case::kDatabaseFailed: return database(message.database_failed());
    case Case::kDatabaseDeleted: return database(message.database_deleted());
    case Case::kInstanceCreated:
    case Case::kInstanceRenamed:
    case Case::kInstanceResized:
    case Case::kInstanceScaled:
    case Case::kNodePlaced:
    case Case::kNodeCreated:
    case Case::kNodeRemovalStarted:
    case Case::kNodeRemoved:
    case Case::kInstanceRetried:
    case Case::kInstanceActivated:
    case Case::kInstanceFailed:
    case Case::kInstanceDeletionStarted:
    case Case::kInstanceDeleted:
    case Case::kObjectsApplied:
    case Case::kObjectNoted:
    case Case::kWritesStopped:
    case Case::kWritesResumed:
    case Case::BODY_NOT_SET: return uri;
  }
  return uri;
}

std::string resource_of(const LogEvent& event) {
  const auto stream = parse_stream(event.stream);
  if (!stream) return {};
  const std::string uuid(stream->uuid);
  switch (stream->aggregate) {
    case Aggregate::instance: return instance_resource(uuid, event);
    case Aggregate::group: return "/v1/types/postgres/instances/" + uuid;
    case Aggregate::version: return "/v1/types/postgres/versions/" + uuid;
    case Aggregate::host: return "/v1/hosts/" + uuid;
    case Aggregate::token: return "/v1/tokens/" + uuid;
    case Aggregate::quota: return "/v1/quotas/" + uuid;
  }
  return {};
}

uint64_t http_status(v1::Blame blame) {
  switch (static_cast<int>(blame)) {
    case v1::BLAME_FORBIDDEN: return 403;
    case v1::BLAME_NOT_FOUND: return 404;
    case v1::BLAME_CONFLICT: return 409;
    default: return 400;
  }
}

}  // namespace

std::string succeeded_operation(const std::string& command_id, const LogEvent& first,
                                int64_t last_position) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", command_id);
  json.text("status", "SUCCEEDED");
  json.text("resource", resource_of(first));
  json.number("position", static_cast<uint64_t>(last_position));
  json.text("created_at", format_rfc3339(first.recorded_at));
  json.end_object();
  return out;
}

std::string pending_operation(const std::string& command_id) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", command_id);
  json.text("status", "PENDING");
  json.end_object();
  return out;
}

std::optional<std::string> operation_without_events(const std::string& command_id,
                                                    const v1::CommandAnswer& answer,
                                                    TimePoint recorded_at) {
  using Case = v1::CommandAnswer::OutcomeCase;
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", command_id);
  switch (answer.outcome_case()) {
    case Case::kRejected:
      json.text("status", "FAILED");
      json.begin_object("error");
      json.text("type", answer.rejected().rule());
      json.number("code", http_status(answer.rejected().blame()));
      json.text("message", answer.rejected().message());
      json.end_object();
      break;
    case Case::kAccepted:
    case Case::kIgnored: json.text("status", "SUCCEEDED"); break;
    case Case::kUnavailable:
    case Case::OUTCOME_NOT_SET: return std::nullopt;
  }
  json.text("created_at", format_rfc3339(recorded_at));
  json.end_object();
  return out;
}

}  // namespace trunkline::lookup
