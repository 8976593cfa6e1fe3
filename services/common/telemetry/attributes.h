// Names of attributes after OpenTelemetry's semantic conventions 1.27 (kSchemaUrl); what is ours
// alone begins with "trunkline.".
#pragma once

namespace trunkline::telemetry {

inline constexpr char kSchemaUrl[] = "https://opentelemetry.io/schemas/1.27.0";

inline constexpr char kErrorType[] = "error.type";

inline constexpr char kHttpMethod[] = "http.request.method";
inline constexpr char kHttpMethodOriginal[] = "http.request.method_original";
inline constexpr char kHttpRoute[] = "http.route";
inline constexpr char kHttpStatus[] = "http.response.status_code";
inline constexpr char kUrlPath[] = "url.path";
inline constexpr char kUrlScheme[] = "url.scheme";
inline constexpr char kUserAgent[] = "user_agent.original";
inline constexpr char kClientAddress[] = "client.address";

inline constexpr char kMessagingSystem[] = "messaging.system";  // "nats"
inline constexpr char kMessagingDestination[] = "messaging.destination.name";
inline constexpr char kMessagingTemplate[] = "messaging.destination.template";
inline constexpr char kMessagingOperation[] = "messaging.operation.name";
inline constexpr char kMessagingOperationType[] = "messaging.operation.type";
inline constexpr char kMessagingMessageId[] = "messaging.message.id";
inline constexpr char kMessagingConversationId[] = "messaging.message.conversation_id";
inline constexpr char kMessagingBatchCount[] = "messaging.batch.message_count";

inline constexpr char kDbSystem[] = "db.system";  // "postgresql"
inline constexpr char kDbNamespace[] = "db.namespace";
inline constexpr char kDbOperation[] = "db.operation.name";
inline constexpr char kDbCollection[] = "db.collection.name";

inline constexpr char kCommandId[] = "trunkline.command_id";
inline constexpr char kStream[] = "trunkline.stream";
inline constexpr char kPosition[] = "trunkline.position";
inline constexpr char kOutcome[] = "trunkline.outcome";  // accepted, ignored, rejected, unavailable
inline constexpr char kRejected[] = "trunkline.rejected";  // the rule
inline constexpr char kInstanceId[] = "trunkline.instance_id";
inline constexpr char kNodeId[] = "trunkline.node_id";
inline constexpr char kHost[] = "trunkline.host";
inline constexpr char kTaskId[] = "trunkline.task_id";
inline constexpr char kTerm[] = "trunkline.term";
inline constexpr char kRule[] = "trunkline.rule";

}  // namespace trunkline::telemetry
