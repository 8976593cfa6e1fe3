#include "api-gateway/io/exchange.h"

#include <algorithm>
#include <spdlog/spdlog.h>

#include "api-gateway/domain/origin.h"
#include "api-gateway/domain/target.h"
#include "api-gateway/io/answers.h"
#include "api-gateway/io/password.h"
#include "telemetry/messaging.h"
#include "telemetry/metrics.h"
#include "runtime/random.h"
#include "telemetry/attributes.h"

namespace trunkline::gateway {
namespace {

constexpr std::chrono::minutes kAdminPatience{15};
constexpr std::chrono::seconds kTurnPatience{10};  // of passwords and commands
constexpr char kAdminSubject[] = "tl.admin.lookup";

struct HttpMetrics {
  telemetry::CounterFamily requests{
      "trunkline_http_requests_total", "Requests answered.", {"method", "route", "status"}};
  telemetry::HistogramFamily took{"trunkline_http_request_duration_seconds",
                                  "From a request's last byte to its answer.",
                                  {"method", "route"}};
};
telemetry::CounterFamily& refused_callers() {
  static auto* const family = new telemetry::CounterFamily(
      "trunkline_http_authentication_failures_total", "Requests that nobody is known for.",
      {"reason"});
  return *family;
}
HttpMetrics& metrics() {
  static auto* const all = new HttpMetrics;
  return *all;
}

void measure(const std::string& method, const Route* route, int status,
             std::chrono::steady_clock::duration took) {
  // What a client makes up must not become a label.
  const std::string_view pattern = route != nullptr ? route->pattern : "none";
  const std::string_view shown = route != nullptr ? std::string_view(method) : "other";
  metrics().requests.add({shown, pattern, std::to_string(status)});
  metrics().took.observe({shown, pattern}, std::chrono::duration<double>(took).count());
}

}  // namespace

Exchange::Exchange(std::shared_ptr<Gateway> gateway, HttpRequest&& request,
                   std::shared_ptr<Reply> reply)
    : gateway_(std::move(gateway)), request_(std::move(request)), reply_(std::move(reply)) {}

Exchange::~Exchange() { leave(); }

void Exchange::guarded(const std::function<void()>& step) {
  try {
    step();
  } catch (const std::exception& e) {
    const std::string trace_id = span_ ? span_->trace_id() : "none";
    spdlog::error("request failed, correlation id {}: {}", trace_id, e.what());
    refuse(unavailable(trace_id));
  }
}

void Exchange::start() {
  guarded([this] { route(); });
}

void Exchange::route() {
  const auto segments = path_segments(request_.path);
  std::string name = request_.method + " (no route)";
  std::optional<RouteFailure> failure;
  if (!segments) {
    failure = RouteFailure{segments.problem(), {}};
  } else {
    auto matched = match_route(request_.method, *segments);
    if (auto* match = std::get_if<RouteMatch>(&matched)) {
      match_ = std::move(*match);
      name = request_.method + " " + std::string(match_.route->pattern);
    } else {
      failure = std::get<RouteFailure>(matched);
    }
  }
  const auto parent = request_.header("traceparent");
  const bool honoured = parent && telemetry::is_traceparent(*parent);
  telemetry::SpanOptions options;
  options.kind = telemetry::SpanKind::server;
  if (honoured) options.parent = *parent;
  const bool writes = match_.route != nullptr && match_.route->method != "GET";
  options.weight = writes ? telemetry::Weight::change : telemetry::Weight::read;
  span_ = telemetry::Span::unattached(name, options);
  traceparent_ = span_->traceparent();
  describe_request();
  if (failure) {
    HttpResponse response = problem_response(failure->problem);
    if (!failure->allow.empty()) response.headers.emplace_back("Allow", failure->allow);
    return finish(std::move(response));
  }
  if (match_.route->access == Access::open) return serve_open();
  authenticate();
}

// Neither the query (it may hold what a client thinks secret) nor any body.
void Exchange::describe_request() {
  const bool known = match_.route != nullptr;
  span_->set(telemetry::kHttpMethod, known ? request_.method : "_OTHER");
  if (!known) span_->set(telemetry::kHttpMethodOriginal, shown(request_.method));
  if (known) span_->set(telemetry::kHttpRoute, match_.route->pattern);
  span_->set(telemetry::kUrlPath, request_.path);
  span_->set(telemetry::kUrlScheme, "http");
  if (const auto agent = request_.header("user-agent")) span_->set(telemetry::kUserAgent, *agent);
}

void Exchange::serve_open() {
  switch (match_.route->action) {
    case Action::health: return finish(json_response(200, R"({"status":"ok"})"));
    case Action::ready: return check_ready();
    case Action::openapi: return finish(gateway_->docs_.openapi());
    case Action::docs: return finish(gateway_->docs_.page());
    case Action::docs_file: return finish(gateway_->docs_.file(match_.word));
    case Action::usage_schema: return finish(usage_schema_response());
    case Action::create:
    case Action::list:
    case Action::get:
    case Action::update:
    case Action::remove:
    case Action::history:
    case Action::metrics:
    case Action::report:
    case Action::fleet:
    case Action::prometheus:
    case Action::failovers:
    case Action::logs:
    case Action::alerts:
    case Action::audit:
    case Action::replay:
    case Action::switchover:
    case Action::failover:
    case Action::drain:
    case Action::declare_lost:
    case Action::remove_orphan:
    case Action::billing:
    case Action::admin: break;
  }
  throw std::logic_error("an open route that nobody serves");
}

void Exchange::check_ready() {
  if (!gateway_->bus_.connected()) {
    return refuse({503, "not_ready", "the bus is not connected"});
  }
  v1::Query query;
  query.mutable_scope()->set_all_projects(true);
  query.mutable_find_token()->set_sha256(std::string(64, '0'));
  ask(query, [self = shared_from_this()](std::optional<v1::QueryAnswer> answer) {
    const bool ready = answer && (answer->status() == v1::QUERY_STATUS_OK ||
                                  answer->status() == v1::QUERY_STATUS_NOT_FOUND);
    if (!answer) {
      return self->refuse(
          {503, "not_ready", "no answer from lookup: it, the bus or its database is away"});
    }
    if (!ready) return self->refuse({503, "not_ready", "lookup: " + answer->message()});
    self->finish(json_response(200, R"({"status":"ready"})"));
  });
}

void Exchange::authenticate() {
  const auto header = request_.header("authorization");
  const auto token = header ? bearer_token(*header) : std::nullopt;
  if (!token) {
    refused_callers().add({header ? "malformed" : "missing"});
    return refuse(no_token());
  }
  gateway_->tokens_->authenticate(*token, runtime::now(),
                                  [self = shared_from_this()](const TokenCache::Answer& answer) {
                                    self->guarded([&] { self->on_caller(answer); });
                                  });
}

void Exchange::on_caller(const TokenCache::Answer& answer) {
  switch (answer.kind) {
    case TokenCache::Answer::Kind::unavailable: return refuse(unavailable(span_->trace_id()));
    case TokenCache::Answer::Kind::unknown:
      refused_callers().add({"unknown"});
      return refuse(no_token());
    case TokenCache::Answer::Kind::known: break;
  }
  caller_ = answer.caller;
  if (const char* who = gateway_->in_flight_.enter(caller_)) {
    return refuse({429, "too_many_requests",
                   std::string("this ") + who +
                       " has too many requests under way; wait for some to end"});
  }
  entered_ = true;
  if (auto problem = check_access(caller_, *match_.route)) return refuse(*problem);
  if (match_.route->action == Action::admin) return administrate();
  carry_out();
}

void Exchange::carry_out() {
  Fresh fresh;
  fresh.now = runtime::now();
  if (match_.route->method != "GET") {
    fresh.uuid = runtime::new_uuid();
    if (match_.route->resource == Resource::token) fresh.token_secret = runtime::random_bytes(32);
    fresh.webhook_master = gateway_->options_.webhook_master;
  }
  auto plan = make_plan(match_, request_, caller_, fresh);
  request_.body = std::string();
  if (!plan) return refuse(plan.problem());
  if (auto* one = std::get_if<ReadOne>(&*plan)) {
    read_one(std::make_shared<ReadOne>(std::move(*one)));
  } else if (auto* many = std::get_if<ReadMany>(&*plan)) {
    read_many(std::make_shared<ReadMany>(std::move(*many)));
  } else if (auto* log = std::get_if<ReadLog>(&*plan)) {
    read_log(std::make_shared<ReadLog>(std::move(*log)));
  } else {
    write(std::make_shared<Write>(std::move(std::get<Write>(*plan))));
  }
}

// ---- reading ---------------------------------------------------------------------------------

void Exchange::read_one(const std::shared_ptr<ReadOne>& plan) {
  const std::string key = ReadCache::key_of(plan->query);
  const auto now = ReadCache::Clock::now();
  if (auto kept = gateway_->reads_.find(key, gateway_->written_position_.load(), now)) {
    v1::QueryAnswer answer;
    answer.add_json(std::move(*kept));
    return finish(one_response(*plan, std::move(answer)));
  }
  ask(plan->query, [self = shared_from_this(), plan,
                    key](std::optional<v1::QueryAnswer> answer) {
    if (answer && answer->status() == v1::QUERY_STATUS_OK && answer->json_size() == 0) {
      answer->set_status(v1::QUERY_STATUS_NOT_FOUND);
    }
    if (answer && !key.empty()) {
      self->gateway_->reads_.keep(key, plan->query, *answer, ReadCache::Clock::now());
    }
    const bool missing = answer && answer->status() == v1::QUERY_STATUS_NOT_FOUND;
    if (missing && self->match_.route->resource == Resource::operation) {
      return self->on_operation_missing(*plan);
    }
    if (auto problem = query_problem(answer, plan->missing, self->span_->trace_id())) {
      return self->refuse(*problem);
    }
    self->finish(one_response(*plan, std::move(*answer)));
  });
}

void Exchange::on_operation_missing(const ReadOne& plan) {
  const auto project = gateway_->commands_.project_in_flight(match_.uuid);
  const bool own = project && (caller_.role == CallerRole::admin || *project == caller_.project_id);
  if (!own) return refuse(plan.missing);
  finish(json_response(200, json{{"uuid", match_.uuid}, {"status", "PENDING"}}.dump()));
}

void Exchange::read_many(const std::shared_ptr<ReadMany>& plan) {
  gather(plan->needs, false, [self = shared_from_this(), plan](std::optional<Problem> problem) {
    if (problem) return self->refuse(*problem);
    self->ask(plan->query, [self, plan](std::optional<v1::QueryAnswer> answer) {
      if (auto wrong = query_problem(answer, plan->missing, self->span_->trace_id())) {
        return self->refuse(*wrong);
      }
      self->finish(many_response(*plan, *answer));
    });
  });
}

void Exchange::gather(const std::vector<Need>& needs, bool parse,
                      std::function<void(std::optional<Problem>)> then) {
  if (found_.size() == needs.size()) return then(std::nullopt);
  const Need& next = needs[found_.size()];
  ask(next.query, [self = shared_from_this(), &needs, &next, parse,
                   then = std::move(then)](std::optional<v1::QueryAnswer> answer) mutable {
    if (answer && answer->status() == v1::QUERY_STATUS_OK && answer->json_size() == 0) {
      answer->set_status(v1::QUERY_STATUS_NOT_FOUND);
    }
    if (auto problem = query_problem(answer, next.missing, self->span_->trace_id())) {
      return then(problem);
    }
    self->found_.push_back(parse ? json::parse(answer->json(0)) : json());
    self->gather(needs, parse, std::move(then));
  });
}

// ---- writing ---------------------------------------------------------------------------------

void Exchange::write(const std::shared_ptr<Write>& plan) {
  gather(plan->needs, true, [self = shared_from_this(), plan](std::optional<Problem> problem) {
    if (problem) return self->on_need_missing(plan, *problem);
    if (!plan->slow) return self->build_and_send(plan);
    self->gateway_->pool_.post(
        {fair_lane(self->caller_), false, runtime::FairClock::now() + kTurnPatience,
         [reply = self->reply_] { return reply->wanted(); }},
        {[self, plan](std::monostate&) { self->guarded([&] { self->build_and_send(plan); }); },
         [self] {
           self->refuse({429, "too_many_requests",
                         "too many passwords of this project wait to be taken; ask again later"});
         }});
  });
}

// A repeated DELETE finds nothing any more: what the first one did is its answer too.
void Exchange::on_need_missing(const std::shared_ptr<Write>& plan, const Problem& problem) {
  if (problem.code != 404 || !plan->repeatable || plan->success != 204) return refuse(problem);
  v1::Query query;
  *query.mutable_scope() = scope_of(caller_);
  query.mutable_get_resource()->set_kind(v1::KIND_OPERATION);
  query.mutable_get_resource()->set_uuid(plan->command_id);
  ask(query, [self = shared_from_this(), problem](std::optional<v1::QueryAnswer> answer) {
    const bool there = answer && answer->status() == v1::QUERY_STATUS_OK && answer->json_size() > 0;
    const auto document = there ? json::parse(answer->json(0), nullptr, false) : json();
    if (!document.is_object() || document.value("status", std::string()) != "SUCCEEDED") {
      return self->refuse(problem);
    }
    self->note_write(document.value("position", uint64_t{0}));
    self->finish(json_response(204, {}));
  });
}

void Exchange::build_and_send(const std::shared_ptr<Write>& plan) {
  auto command = plan->build(found_, scram_verifier_of);
  if (!command) return refuse(command.problem());
  command->set_command_id(plan->command_id);
  command->set_actor("token:" + caller_.token_id);
  command->set_correlation_id(plan->command_id);
  command->set_traceparent(traceparent_);
  command->set_issued_unix_us(to_unix_us(runtime::now()));
  *command->mutable_origin() =
      origin_of(caller_, request_, gateway_->options_.trusted_proxies, *command, found_);
  span_->set(telemetry::kCommandId, plan->command_id);
  auto send = [self = shared_from_this(), plan, command = *command](const FairGate::Pass& pass) {
    self->guarded([&] {
      self->gateway_->commands_.send(
          command, [self, plan, pass](const CommandClient::Outcome& outcome) {
            self->guarded([&] { self->on_command(plan, outcome); });
          });
    });
  };
  gateway_->command_gate_->enter(
      {fair_lane(caller_), false, runtime::FairClock::now() + kTurnPatience,
       [reply = reply_] { return reply->wanted(); }},
      {std::move(send), [self = shared_from_this()] {
         self->refuse({429, "too_many_requests",
                       "too many changes of this project are under way; wait for some to end"});
       }});
}

void Exchange::on_command(const std::shared_ptr<Write>& plan,
                          const CommandClient::Outcome& outcome) {
  using Kind = CommandClient::Outcome::Kind;
  if (outcome.kind == Kind::pending) {
    return finish(operation_response(plan->command_id, "PENDING", plan->extra));
  }
  if (outcome.kind == Kind::not_sent) {
    spdlog::warn("command {} not sent, correlation id {}: {}", plan->command_id,
                 span_->trace_id(), outcome.why);
    return refuse(unavailable(span_->trace_id()));
  }
  switch (outcome.answer.outcome_case()) {
    case v1::CommandAnswer::kAccepted:
      return read_back(plan, outcome.answer.accepted().position());
    case v1::CommandAnswer::kIgnored:
      return read_back(plan, outcome.answer.ignored().position());
    case v1::CommandAnswer::kRejected: return refuse(rejection(outcome.answer.rejected()));
    case v1::CommandAnswer::kUnavailable:
      spdlog::warn("command {} undecided, correlation id {}: {}", plan->command_id,
                   span_->trace_id(), outcome.answer.unavailable().why());
      return refuse(unavailable(span_->trace_id()));
    case v1::CommandAnswer::OUTCOME_NOT_SET: break;
  }
  throw std::runtime_error("a command's answer says nothing");
}

// What is read from now on has it.
void Exchange::note_write(uint64_t position) {
  uint64_t before = gateway_->written_position_.load();
  while (before < position &&
         !gateway_->written_position_.compare_exchange_weak(before, position)) {
  }
  // Its event may come after the client's next request.
  if (match_.route->resource == Resource::token) gateway_->tokens_->changed(position);
}

// The write is done: from here on nothing may look like a failure.
void Exchange::read_back(const std::shared_ptr<Write>& plan, uint64_t position) {
  note_write(position);
  if (!plan->read_back) return finish(json_response(plan->success, {}));
  v1::Query query = *plan->read_back;
  ask(std::move(query), [self = shared_from_this(), plan](std::optional<v1::QueryAnswer> answer) {
    const bool there = answer && answer->status() == v1::QUERY_STATUS_OK && answer->json_size() > 0;
    if (!there) {
      return self->finish(operation_response(plan->command_id, "SUCCEEDED", plan->extra));
    }
    self->finish(written_response(*plan, std::move(*answer->mutable_json(0))));
  });
}

// ---- the rest --------------------------------------------------------------------------------

void Exchange::administrate() {
  if (match_.word != "rebuild" && match_.word != "checksum" && match_.word != "retry-poison") {
    return refuse({404, "route_not_found", "there is no such operation"});
  }
  json question{{"op", match_.word}};
  if (!request_.body.empty()) {
    auto body = parse_json_object(request_.body);
    if (!body) return refuse(body.problem());
    body->update(question);
    question = std::move(*body);
  }
  try {
    gateway_->bus_.request_async(
        kAdminSubject, question.dump(), kAdminPatience,
        [self = shared_from_this()](std::optional<bus::Message> message) {
          self->guarded([&] {
            const bool good = message && !message->headers.contains("Status") &&
                              json::accept(message->data);
            if (!good) return self->refuse(unavailable(self->span_->trace_id()));
            self->finish(json_response(200, std::move(message->data)));
          });
        });
  } catch (const bus::BusUnavailable&) {
    refuse(unavailable(span_->trace_id()));
  }
}

void Exchange::ask(v1::Query query, std::function<void(std::optional<v1::QueryAnswer>)> then) {
  LookupClient& client = gateway_->client_of(answerer_of(query));
  std::shared_ptr<telemetry::Span> span = telemetry::Span::unattached(
      "request " + client.subject(),
      {telemetry::SpanKind::client, traceparent_, {}, false, {}});
  telemetry::describe_message(*span, client.subject(), "request", "");
  query.set_traceparent(span->traceparent());
  query.set_min_position(std::max(query.min_position(), gateway_->written_position_.load()));
  client.ask(query, [self = shared_from_this(), span = std::move(span),
                     then = std::move(then)](std::optional<v1::QueryAnswer> answer) mutable {
    if (!answer) span->fail("timeout");
    span.reset();
    self->guarded([&] { then(std::move(answer)); });
  });
}

HttpResponse Exchange::problem_response_for(const Problem& problem) {
  return problem_response(problem);
}

void Exchange::finish(HttpResponse response) {
  if (std::exchange(finished_, true)) return;
  const int status = response.status;
  if (span_) response.headers.emplace_back("traceresponse", traceparent_);
  leave();
  reply_->send(std::move(response));
  take_leave(status);
}

void Exchange::leave() {
  if (std::exchange(entered_, false)) gateway_->in_flight_.leave(caller_);
}

void Exchange::take_leave(int status) {
  leave();
  std::string trace_id;
  if (span_) {
    trace_id = span_->trace_id();
    span_->set(telemetry::kHttpStatus, int64_t{status});
    if (status >= 500) span_->fail(std::to_string(status));
  }
  span_.reset();
  measure(request_.method, match_.route, status, std::chrono::steady_clock::now() - started_);
  gateway_->refusals_.note(caller_, status,
                           client_address(request_, gateway_->options_.trusted_proxies));
  if (!gateway_->options_.access_log) return;
  gateway_->access_log_.note({shown(request_.method),
                              match_.route != nullptr ? match_.route->pattern : "(no route)",
                              status, std::chrono::steady_clock::now() - started_,
                              caller_.token_id, trace_id});
}

}  // namespace trunkline::gateway
