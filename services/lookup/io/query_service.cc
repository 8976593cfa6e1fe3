#include "lookup/io/query_service.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/ids.h"
#include "lookup/domain/operation.h"
#include "lookup/domain/route.h"
#include "lookup/io/fold.h"
#include "lookup/io/query_answers.h"
#include "bus/streams.h"
#include "telemetry/messaging.h"
#include "telemetry/telemetry.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::lookup {
namespace {

using v1::QueryAnswer;

constexpr auto kPatience = std::chrono::milliseconds(1500);
constexpr std::chrono::milliseconds kUsualPatience{2500};
constexpr std::chrono::milliseconds kLongestStatement{3000};  // nobody waits longer
constexpr int kMaxRoutes = 1000;
constexpr size_t kMaxRouteBytes = 550'000;

// Nothing for what is no document (operations), or unknown.
std::optional<DocKind> doc_kind(v1::Kind kind) {
  switch (static_cast<int>(kind)) {
    case v1::KIND_INSTANCE: return DocKind::instance;
    case v1::KIND_USER: return DocKind::user;
    case v1::KIND_DATABASE: return DocKind::database;
    case v1::KIND_VERSION: return DocKind::version;
    case v1::KIND_HOST: return DocKind::host;
    case v1::KIND_TOKEN: return DocKind::token;
    case v1::KIND_QUOTA: return DocKind::quota;
    default: return std::nullopt;
  }
}

bool may_see(const v1::Scope& scope, DocKind kind, const std::string& project_id) {
  if (scope.all_projects() || kind == DocKind::version) return true;
  if (kind == DocKind::host || kind == DocKind::token) return false;
  if (kind == DocKind::quota && project_id == kDefaultQuotaProject) return true;
  return !project_id.empty() && scope.project_id() == project_id;
}

bool has_parent(DocKind kind) { return kind == DocKind::user || kind == DocKind::database; }

DocKey key_of(DocKind kind, const v1::GetResource& get) {
  return {kind, get.uuid(), has_parent(kind) ? get.instance_id() : std::string()};
}

bool is_past(const v1::GetResource& get) {
  return get.at_position() != 0 || get.at_unix_us() != 0;
}

void canonicalize(std::string* uuid) {
  if (auto canonical = canonical_uuid(*uuid)) *uuid = std::move(*canonical);
}
void canonicalize(v1::Query& query) {
  if (query.has_get_resource()) {
    canonicalize(query.mutable_get_resource()->mutable_uuid());
    canonicalize(query.mutable_get_resource()->mutable_instance_id());
  } else if (query.has_list_resources()) {
    canonicalize(query.mutable_list_resources()->mutable_instance_id());
    canonicalize(query.mutable_list_resources()->mutable_marker());
  } else if (query.has_get_metrics()) {
    canonicalize(query.mutable_get_metrics()->mutable_instance_id());
  } else if (query.has_get_prometheus()) {
    canonicalize(query.mutable_get_prometheus()->mutable_instance_id());
  } else if (query.has_get_database_report()) {
    canonicalize(query.mutable_get_database_report()->mutable_instance_id());
    canonicalize(query.mutable_get_database_report()->mutable_database_id());
  } else if (query.has_list_events()) {
    canonicalize(query.mutable_list_events()->mutable_instance_id());
  }
}

runtime::FairLimits limits_of(size_t threads) {
  const size_t most = std::max<size_t>(threads, 2) - 1;  // one is left for somebody else
  return {.waiting = 2000, .waiting_a_lane = 250, .running_a_lane = most, .running_slow = most};
}

// What reads more than some rows.
bool is_slow(const v1::Query& query) {
  return query.has_list_events() || query.has_list_failovers() || query.has_list_audit() ||
         query.has_get_metrics() || query.has_get_database_report() || query.has_get_fleet() ||
         (query.has_get_resource() && is_past(query.get_resource()));
}

// Who is looked up, and where endpoints lead, waits behind nobody's questions.
std::string lane_of(const v1::Query& query) {
  if (query.has_find_token()) return "tokens";
  if (query.has_list_routes()) return "routes";
  const v1::Scope& scope = query.scope();
  const std::string asker = scope.all_projects() ? "platform" : scope.project_id();
  return is_slow(query) ? asker + "/slow" : asker;
}

bool expired(const Document& token) {
  // "expires_at" stands in the document in a form of fixed width that sorts like time.
  constexpr std::string_view kMark = ",\"expires_at\":\"";
  const size_t at = token.json.find(kMark);
  if (at == std::string::npos) return false;
  const std::string now = format_rfc3339(std::chrono::time_point_cast<std::chrono::microseconds>(
      std::chrono::system_clock::now()));
  return token.json.compare(at + kMark.size(), now.size(), now) <= 0;
}

}  // namespace

QueryService::QueryService(bus::Bus& bus, Options options, DocumentCache& cache,
                           PositionGate& gate, const LiveStore& live)
    : bus_(bus),
      options_(std::move(options)),
      cache_(cache),
      gate_(gate),
      live_(live),
      pool_("lookup", options_.threads, limits_of(options_.threads), [this] {
        return std::unique_ptr<Connections>(new Connections{
            ReadModel(options_.read_model_dsn, kSchema, ReadModel::Use::share, kLongestStatement),
            LogAccess(options_.log_dsn, kLongestStatement)});
      }) {}

QueryService::~QueryService() { gate_.close(); }

void QueryService::send(const std::string& reply, QueryAnswer&& answer) {
  answer.set_position(static_cast<uint64_t>(gate_.position()));
  runtime::send_answer(bus_, reply, answer);
}

void QueryService::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  auto query = std::make_shared<v1::Query>();
  if (!query->ParseFromString(message.data)) {
    return send(message.reply, runtime::cannot_be_parsed());
  }
  canonicalize(*query);
  const auto asked = runtime::FairClock::now();
  const auto wanted = static_cast<int64_t>(query->min_position());
  if (wanted <= gate_.position()) return answer(message.reply, query, asked);
  gate_.when_reached(wanted, kPatience, [this, reply = message.reply, query, asked](bool reached) {
    if (reached) return answer(reply, query, asked);
    send(reply, failed(v1::QUERY_STATUS_BEHIND, "the projection has not reached that position"));
  });
}

void QueryService::answer(const std::string& reply, const QueryPtr& query,
                          runtime::FairClock::time_point asked) {
  if (answer_from_cache(reply, *query)) return;
  const auto patience = query->patience_ms() == 0
                            ? kUsualPatience
                            : std::chrono::milliseconds(query->patience_ms());
  const auto work = [this, reply, query](Connections& own) {
    std::optional<telemetry::Span> span;
    if (telemetry::is_traceparent(query->traceparent())) {
      span.emplace("process tl.query.lookup", telemetry::SpanKind::server, query->traceparent());
      telemetry::describe_message(*span, bus::kLookupSubject, "process", "process");
    }
    QueryAnswer found = look_up(own, *query);
    if (span && found.status() == v1::QUERY_STATUS_UNAVAILABLE) span->fail("unavailable");
    send(reply, std::move(found));
  };
  pool_.post({lane_of(*query), is_slow(*query), asked + patience, {}},
             {work, [this, reply] { send(reply, runtime::too_many_waiting()); }});
}

bool QueryService::answer_from_cache(const std::string& reply, const v1::Query& query) {
  if (query.has_find_token()) {
    const auto token = cache_.find_token(query.find_token().sha256());
    if (!token) return false;
    send(reply, expired(*token) ? not_found() : found(token->json));
    return true;
  }
  if (!query.has_get_resource()) return false;
  const v1::GetResource& get = query.get_resource();
  const auto kind = doc_kind(get.kind());
  // A host shows what is placed on it, which takes a query.
  if (!kind || kind == DocKind::host || is_past(get)) return false;
  const auto document = cache_.find(key_of(*kind, get));
  if (!document) return false;
  if (!may_see(query.scope(), *kind, document->project_id)) {
    send(reply, not_found());
  } else if (*kind == DocKind::instance) {
    send(reply, found(live_.with_instance(document->json)));
  } else if (*kind == DocKind::database) {
    send(reply, found(live_.with_database(document->json, document->key.parent,
                                          document->key.uuid)));
  } else {
    send(reply, found(document->json));
  }
  return true;
}

QueryAnswer QueryService::look_up(Connections& own, const v1::Query& query) {
  // While a rebuilt read model takes the place of the old one a statement may meet neither.
  constexpr int kTries = 4;
  constexpr auto kPause = std::chrono::milliseconds(20);
  try {
    for (int tries = 1; options_.ready(); ++tries) {
      try {
        return dispatch(own, query);
      } catch (const ReadModelDamaged& error) {
        options_.suspect();
        spdlog::warn("a query met a damaged read model: {}", error.what());
        if (tries == kTries) break;
        std::this_thread::sleep_for(kPause);
      }
    }
    return failed(v1::QUERY_STATUS_UNAVAILABLE, "the read model is being built");
  } catch (const ReadModelRefused& error) {
    return bad_field(std::string("a value is not of the type of its field: ") + error.what());
  } catch (const std::exception& error) {
    spdlog::warn("a query cannot be answered: {}", error.what());
    return failed(v1::QUERY_STATUS_UNAVAILABLE, "the read model or the log is away");
  }
}

QueryAnswer QueryService::dispatch(Connections& own, const v1::Query& query) {
  switch (query.body_case()) {
    case v1::Query::kGetResource: return get(own, query);
    case v1::Query::kListResources: return list(own, query);
    case v1::Query::kListEvents: return list_events(own, query);
    case v1::Query::kFindToken: return find_token(own, query);
    case v1::Query::kListFailovers: return list_failovers(own, query);
    case v1::Query::kListRoutes: return list_routes(own, query);
    case v1::Query::kGetMetrics:
    case v1::Query::kGetDatabaseReport:
    case v1::Query::kGetFleet:
    case v1::Query::kGetPrometheus: return metrics(own, query);
    case v1::Query::kQueryUsage:  // metering's
    case v1::Query::kListUsageEvents:
    case v1::Query::kGetInvoice:
    case v1::Query::kGetDeliveries:
    case v1::Query::kReplayFailovers: break;  // replication's
    case v1::Query::kListAlerts: return list_alerts(query);
    case v1::Query::kListAudit: return list_audit(own, query);
    case v1::Query::BODY_NOT_SET: return bad_field("the query asks for nothing");
  }
  return bad_field("the query is of no known kind");
}

std::string QueryService::shown(Connections& own, const Document& document) {
  switch (document.key.kind) {
    case DocKind::instance: return live_.with_instance(document.json);
    case DocKind::database:
      return live_.with_database(document.json, document.key.parent, document.key.uuid);
    case DocKind::host:
      return live_.with_host(document.json, document.key.uuid, usage_of(own, document));
    case DocKind::user:
    case DocKind::version:
    case DocKind::token:
    case DocKind::quota:
    case DocKind::route: return document.json;
  }
  return document.json;
}

HostUsage QueryService::usage_of(Connections& own, const Document& host) {
  constexpr auto kGoodFor = std::chrono::seconds(2);
  const auto name = nlohmann::json::parse(host.json).value("name", std::string());
  const std::lock_guard lock(usage_mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (usage_.empty() || now - usage_taken_ > kGoodFor) {
    usage_ = own.model.host_usage();
    usage_taken_ = now;
  }
  const auto it = usage_.find(name);
  return it == usage_.end() ? HostUsage() : it->second;
}

QueryAnswer QueryService::get(Connections& own, const v1::Query& query) {
  const v1::GetResource& get = query.get_resource();
  if (!is_uuid(get.uuid())) return not_found();
  if (get.kind() == v1::KIND_OPERATION) return get_operation(own, query);
  const auto kind = doc_kind(get.kind());
  if (!kind) return bad_field("kind: unknown");
  if (!is_past(get)) return get_document(own, query, *kind);
  if (*kind != DocKind::instance) return bad_field("at: only an instance has a history");
  return get_past(own, query);
}

QueryAnswer QueryService::get_document(Connections& own, const v1::Query& query, DocKind kind) {
  const DocKey key = key_of(kind, query.get_resource());
  if (has_parent(kind) && !is_uuid(key.parent)) return not_found();
  DocumentCache::Load load(cache_, key);
  const auto document = own.model.load(key);
  if (document) load.finish(*document);
  if (!document || !may_see(query.scope(), kind, document->project_id)) return not_found();
  return found(shown(own, *document));
}

QueryAnswer QueryService::get_past(Connections& own, const v1::Query& query) {
  const v1::GetResource& get = query.get_resource();
  int64_t up_to = gate_.position();
  if (get.at_position() != 0) up_to = std::min(up_to, get.at_position());
  const StreamRef stream{Aggregate::instance, get.uuid()};
  View view = make_view(stream);
  Blocked blocked;
  std::vector<Poison> poison;
  for (const auto& event : own.log.view_events(stream, up_to)) {
    if (get.at_unix_us() != 0 && to_unix_us(event.recorded_at) > get.at_unix_us()) break;
    fold(view, event, blocked, poison, nullptr);
  }
  const auto document = render(view, {DocKind::instance, get.uuid()}, options_.rendering);
  if (!document || !may_see(query.scope(), DocKind::instance, document->project_id)) {
    return not_found();
  }
  return found(document->json);
}

bool QueryService::owns(Connections& own, const v1::Scope& scope,
                        const std::string& instance_id) {
  const auto first = own.log.first_event("instance-" + instance_id);
  if (!first) return false;
  if (scope.all_projects()) return true;
  v1::InstanceEvent event;
  return event.ParseFromString(first->payload) &&
         may_see(scope, DocKind::instance, event.instance_created().project_id());
}

QueryAnswer QueryService::get_operation(Connections& own, const v1::Query& query) {
  const std::string& id = query.get_resource().uuid();
  if (const auto events = own.log.command_events(id)) {
    const auto stream = parse_stream(events->first.stream);
    const bool of_instance = stream && (stream->aggregate == Aggregate::instance ||
                                        stream->aggregate == Aggregate::group);
    const bool seen = of_instance ? owns(own, query.scope(), std::string(stream->uuid))
                                  : query.scope().all_projects();
    if (!seen) return not_found();
    // Whoever sees the operation succeed shall see its result too.
    if (events->last_position > gate_.position()) return found(pending_operation(id));
    return found(succeeded_operation(id, as_log_event(events->first), events->last_position));
  }
  const auto result = own.log.command_result(id);
  v1::CommandAnswer answer;
  if (!result || !answer.ParseFromString(result->answer)) return not_found();
  const v1::Scope& scope = query.scope();
  if (!scope.all_projects() && result->project_id && *result->project_id != scope.project_id()) {
    return not_found();
  }
  auto json = operation_without_events(id, answer, result->recorded_at);
  return json ? found(std::move(*json)) : not_found();
}

QueryAnswer QueryService::list(Connections& own, const v1::Query& query) {
  const v1::ListResources& list = query.list_resources();
  const auto kind = doc_kind(list.kind());
  if (!kind) return bad_field("kind: cannot be listed");
  if ((*kind == DocKind::host || *kind == DocKind::token) && !query.scope().all_projects()) {
    return not_found();
  }
  if (has_parent(*kind) != !list.instance_id().empty()) {
    return bad_field("instance_id: belongs to lists of users and databases only");
  }
  if (has_parent(*kind)) {
    const DocKey parent{DocKind::instance, list.instance_id()};
    if (!is_uuid(parent.uuid)) return not_found();
    const auto instance = own.model.load(parent);
    if (!instance || !may_see(query.scope(), DocKind::instance, instance->project_id)) {
      return not_found();
    }
  }
  const DocumentList page =
      list_documents(own.model, markers_, *kind, query.scope(), list, kMaxAnswerBytes * 2 / 3);
  if (!page.bad_field.empty()) return bad_field(page.bad_field);
  QueryAnswer answer;
  for (const Document& document : page.documents) answer.add_json(shown(own, document));
  answer.set_next_marker(page.next_marker);
  return answer;
}

// Verifiers are in it: for the proxies alone, which see all projects.
QueryAnswer QueryService::list_routes(Connections& own, const v1::Query& query) {
  const std::string& after = query.list_routes().after_instance_id();
  if (!query.scope().all_projects()) return not_found();
  if (!after.empty() && !is_uuid(after)) return bad_field("after_instance_id: is no UUID");
  QueryAnswer answer;
  size_t bytes = 0;
  const std::vector<Document> rows = own.model.load_routes(after, kMaxRoutes);
  for (const Document& row : rows) {
    auto route = route_from(row.json);
    if (!route) throw ReadModelDamaged("the route of " + row.key.uuid + " cannot be read");
    bytes += route->ByteSizeLong();
    if (bytes > kMaxRouteBytes && answer.routes().routes_size() > 0) break;
    if (options_.put_live) options_.put_live(*route);
    *answer.mutable_routes()->add_routes() = std::move(*route);
    answer.set_next_marker(row.key.uuid);
  }
  const bool all = static_cast<size_t>(answer.routes().routes_size()) == rows.size();
  if (all && rows.size() < static_cast<size_t>(kMaxRoutes)) answer.clear_next_marker();
  return answer;
}

QueryAnswer QueryService::metrics(Connections& own, const v1::Query& query) {
  if (options_.fleet == nullptr) {
    return failed(v1::QUERY_STATUS_UNAVAILABLE, "nobody knows how instances fare");
  }
  const MetricQueries ask(own.model, *options_.fleet);
  if (query.has_get_fleet()) {
    if (!query.scope().all_projects()) return not_found();
    return found(ask.fleet([&](const Document& document) { return shown(own, document); },
                           own.log.troubled_webhooks()));
  }
  const std::string id = query.has_get_metrics() ? query.get_metrics().instance_id()
                         : query.has_get_prometheus()
                             ? query.get_prometheus().instance_id()
                             : query.get_database_report().instance_id();
  if (!is_uuid(id)) return not_found();
  const auto instance = own.model.load({DocKind::instance, id});
  if (!instance || !may_see(query.scope(), DocKind::instance, instance->project_id)) {
    return not_found();
  }
  if (query.has_get_prometheus()) return found(ask.prometheus(*instance));
  const auto answer = query.has_get_metrics()
                          ? ask.metrics(*instance, query.get_metrics())
                          : ask.report(*instance, query.get_database_report());
  if (!answer.bad_field.empty()) return bad_field(answer.bad_field);
  return answer.json.empty() ? not_found() : found(answer.json);
}

QueryAnswer QueryService::find_token(Connections& own, const v1::Query& query) {
  const std::string& hash = query.find_token().sha256();
  if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return not_found();
  }
  const auto by_hash = own.model.load_token(hash);
  if (!by_hash) return not_found();
  // Once more by its id: a token that is revoked meanwhile must not stay in the cache.
  DocumentCache::Load load(cache_, by_hash->key);
  const auto token = own.model.load(by_hash->key);
  if (token) load.finish(*token);
  return token && !expired(*token) ? found(token->json) : not_found();
}

}  // namespace trunkline::lookup
