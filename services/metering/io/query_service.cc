#include "metering/io/query_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "bus/streams.h"
#include "eventlog/log.h"
#include "metering/domain/billing_json.h"
#include "runtime/query_answer.h"
#include "telemetry/messaging.h"
#include "telemetry/telemetry.h"

namespace trunkline::metering {
namespace {

using runtime::bad_field;
using runtime::failed;
using runtime::found;
using runtime::not_found;
using v1::QueryAnswer;

constexpr std::chrono::milliseconds kPatience{1'500};
constexpr std::chrono::milliseconds kUsualPatience{60'000};
constexpr uint32_t kMostRows = 1000;
// A NATS message holds one megabyte.
constexpr size_t kMostBytes = 600'000;

uint32_t limit_of(uint32_t asked) {
  return asked == 0 ? kMostRows : std::min(asked, kMostRows);
}

std::optional<UsageWindow> window_of(const std::string& word) {
  if (word == "1m") return UsageWindow::minute;
  if (word == "1h") return UsageWindow::hour;
  if (word == "1d") return UsageWindow::day;
  if (word == "1mo") return UsageWindow::month;
  return std::nullopt;
}

std::string time_text(int64_t ms) { return format_rfc3339(from_unix_us(ms * 1000)); }

std::string row_json(const UsageQuestion& question, const UsageRow& row) {
  const MeterInfo& meter = info(row.meter);
  nlohmann::ordered_json out = {{"window_start", time_text(row.window_start_ms)},
                                {"window_end", time_text(row.window_end_ms)}};
  if (!row.project_id.empty()) out["project_id"] = row.project_id;
  if (!row.instance_id.empty()) out["instance"] = row.instance_id;
  if (question.by_node && row.node_id != "00000000-0000-0000-0000-000000000000") {
    out["node"] = row.node_id;
  }
  out["meter"] = std::string(meter.name);
  if (question.by_state && !meter.state.empty()) out["state"] = std::string(meter.state);
  out["quantity"] = unit_text(row.meter, row.quantity);
  out["unit"] = std::string(meter.unit);
  if (!row.instance_id.empty()) {
    const std::string node = out.contains("node") ? row.node_id : std::string();
    out["record"] = line_name({row.window_start_ms, row.window_end_ms, row.instance_id, node,
                               row.meter});
  }
  return out.dump();
}

// Why a question is none, or nothing.
std::optional<std::string> fill(const v1::QueryUsage& query, UsageQuestion* question) {
  const auto window = window_of(query.window());
  if (!window) return "window must be 1m, 1h, 1d or 1mo";
  if (query.from_unix_ms() < 0 || query.to_unix_ms() <= query.from_unix_ms()) {
    return "from must be before to";
  }
  question->window = *window;
  question->instance_id = query.instance_id();
  question->node_id = query.node_id();
  question->project_id = query.project_id();
  question->from_ms = query.from_unix_ms();
  question->to_ms = query.to_unix_ms();
  question->limit = limit_of(query.limit());
  question->marker = query.marker();
  for (const auto& name : query.meters()) {
    const size_t before = question->meters.size();
    for (const MeterInfo& meter : meters()) {
      if (meter.name == name) question->meters.push_back(meter.meter);
    }
    if (question->meters.size() == before) return "there is no such meter";
  }
  for (const auto& group : query.group_by()) {
    question->by_project |= group == "project";
    question->by_instance |= group == "instance";
    question->by_node |= group == "node";
    question->by_state |= group == "state";
  }
  return std::nullopt;
}

bool is_quick(const v1::Query& query) {
  return query.has_get_resource() || query.has_list_resources();
}

// One thread is left for somebody else, and what may fold the log has fewer than all.
runtime::FairLimits limits_of(size_t threads) {
  const size_t most = std::max<size_t>(threads, 2) - 1;
  return {.waiting = 500, .waiting_a_lane = 60, .running_a_lane = most, .running_slow = most};
}

// An administrator asks for one project's usage or invoice after the other: its lane is his own.
std::string lane_of(const v1::Query& query) {
  const v1::Scope& scope = query.scope();
  const std::string asker = scope.all_projects() ? "platform" : scope.project_id();
  return query.has_get_invoice() ? asker + "/invoices" : asker;
}

bool sees(const v1::Scope& scope, const std::string& project_id) {
  return scope.all_projects() || (!project_id.empty() && scope.project_id() == project_id);
}

template <class Map>
void put_page(const Map& all, const v1::ListResources& list, QueryAnswer* answer,
              const std::function<std::string(const typename Map::mapped_type&)>& json) {
  const uint32_t limit = limit_of(list.limit());
  size_t bytes = 0;
  for (auto it = all.upper_bound(list.marker()); it != all.end(); ++it) {
    std::string text = json(it->second);
    if (text.empty()) continue;
    const bool full = answer->json_size() > 0 &&
                      (static_cast<uint32_t>(answer->json_size()) == limit ||
                       bytes + text.size() > kMostBytes);
    if (full) return;
    bytes += text.size();
    answer->add_json(std::move(text));
    answer->set_next_marker(it->first);
  }
  answer->clear_next_marker();
}

}  // namespace

QueryService::QueryService(bus::Bus& bus, Options options, BillingCatalog& catalog)
    : bus_(bus),
      options_(std::move(options)),
      catalog_(catalog),
      invoices_(catalog, options_.log_dsn),
      quick_("metering_quick", 1, limits_of(1), [this] { return make_own(); }),
      slow_("metering", options_.threads, limits_of(options_.threads),
            [this] { return make_own(); }) {
  subscription_ = bus_.subscribe(
      bus::kMeteringSubject, [this](bus::Message&& message) { take(std::move(message)); },
      "metering");
}

std::unique_ptr<QueryService::Own> QueryService::make_own() const {
  return std::unique_ptr<Own>(
      new Own{UsageReader(options_.usage_dsn), UsageTrace(options_.log_dsn)});
}

void QueryService::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  auto query = std::make_shared<v1::Query>();
  if (!query->ParseFromString(message.data)) {
    return runtime::send_answer(bus_, message.reply, runtime::cannot_be_parsed());
  }
  auto& pool = is_quick(*query) ? quick_ : slow_;
  const auto patience = query->patience_ms() == 0
                            ? kUsualPatience
                            : std::chrono::milliseconds(query->patience_ms());
  const auto work = [this, reply = message.reply, query](Own& own) {
    runtime::send_answer(bus_, reply, traced_answer(own, *query));
  };
  pool.post({lane_of(*query), query->has_get_invoice(), runtime::FairClock::now() + patience, {}},
            {work, [this, reply = message.reply] {
               runtime::send_answer(bus_, reply, runtime::too_many_waiting());
             }});
}

QueryAnswer QueryService::traced_answer(Own& own, const v1::Query& query) {
  if (!telemetry::is_traceparent(query.traceparent())) return answer(own, query);
  telemetry::Span span("process tl.query.metering", telemetry::SpanKind::server,
                       query.traceparent());
  telemetry::describe_message(span, bus::kMeteringSubject, "process", "process");
  QueryAnswer given = answer(own, query);
  if (given.status() == v1::QUERY_STATUS_UNAVAILABLE) span.fail("unavailable");
  return given;
}

QueryAnswer QueryService::answer(Own& own, const v1::Query& query) {
  try {
    if (!catalog_.wait_for(static_cast<int64_t>(query.min_position()), kPatience)) {
      return failed(v1::QUERY_STATUS_BEHIND, "metering has not reached that position");
    }
    const int64_t position = catalog_.position();
    QueryAnswer given = dispatch(own, query);
    given.set_position(static_cast<uint64_t>(position));
    return given;
  } catch (const UsageTooMuch& error) {
    return bad_field(error.what());
  } catch (const std::exception& error) {
    spdlog::warn("a query cannot be answered: {}", error.what());
    return failed(v1::QUERY_STATUS_UNAVAILABLE, "the usage or the log is away");
  }
}

QueryAnswer QueryService::dispatch(Own& own, const v1::Query& query) {
  switch (query.body_case()) {
    case v1::Query::kGetResource: return get(query);
    case v1::Query::kListResources: return list(query);
    case v1::Query::kQueryUsage: return usage(own, query);
    case v1::Query::kListUsageEvents: return usage_events(own, query);
    case v1::Query::kGetInvoice: return invoice(own, query);
    case v1::Query::kGetDeliveries: return deliveries(query);
    case v1::Query::kListEvents:  // lookup's
    case v1::Query::kFindToken:
    case v1::Query::kListFailovers:
    case v1::Query::kReplayFailovers:
    case v1::Query::kListRoutes:
    case v1::Query::kGetMetrics:
    case v1::Query::kGetDatabaseReport:
    case v1::Query::kGetFleet:
    case v1::Query::kGetPrometheus:
    case v1::Query::kListAlerts:
    case v1::Query::kListAudit:
    case v1::Query::BODY_NOT_SET: break;
  }
  return bad_field("this is not asked of metering");
}

QueryAnswer QueryService::get(const v1::Query& query) {
  const auto& wanted = query.get_resource();
  const auto view = catalog_.view();
  if (wanted.kind() == v1::KIND_PRICE_LIST) {
    const auto list = view->price_lists.find(wanted.uuid());
    if (list == view->price_lists.end()) return not_found();
    auto json = price_list_json(list->second, wanted.at_unix_us() / 1000);
    return json.empty() ? not_found() : found(std::move(json));
  }
  if (wanted.kind() != v1::KIND_WEBHOOK || !query.scope().all_projects()) return not_found();
  const auto webhook = view->webhooks.find(wanted.uuid());
  return webhook == view->webhooks.end() ? not_found() : found(webhook_json(webhook->second));
}

QueryAnswer QueryService::list(const v1::Query& query) {
  const auto& wanted = query.list_resources();
  const auto view = catalog_.view();
  QueryAnswer answer;
  if (wanted.kind() == v1::KIND_PRICE_LIST) {
    const std::string name =
        wanted.filters().empty() ? std::string() : wanted.filters(0).any_of(0);
    put_page(view->price_lists, wanted, &answer, [&](const PriceListState& list) {
      const bool other = !name.empty() && list.versions.back().name != name;
      return list.retired_at || other ? std::string() : price_list_json(list, 0);
    });
    return answer;
  }
  if (wanted.kind() != v1::KIND_WEBHOOK || !query.scope().all_projects()) return not_found();
  put_page(view->webhooks, wanted, &answer, webhook_json);
  return answer;
}

QueryAnswer QueryService::usage(Own& own, const v1::Query& query) {
  UsageQuestion question;
  if (auto why = fill(query.query_usage(), &question)) return bad_field(*why);
  if (!query.scope().all_projects()) {
    if (!question.project_id.empty() && !sees(query.scope(), question.project_id)) {
      return not_found();
    }
    question.project_id = query.scope().project_id();
    if (question.project_id.empty()) return not_found();
  }
  std::string instance = question.instance_id;
  if (!question.node_id.empty()) {
    const auto owner = own.reader.instance_of(question.node_id);
    if (!owner || (!instance.empty() && instance != *owner)) return not_found();
    instance = *owner;
  }
  if (!instance.empty()) {
    const auto project = own.reader.project_of(instance);
    if (!project || !sees(query.scope(), *project)) return not_found();
  }
  if (question.window == UsageWindow::minute &&
      question.from_ms < own.reader.checkpoint().records_from_ms) {
    return bad_field("minutes are not kept for so long: ask for longer windows");
  }
  const UsagePage page = own.reader.rows(question);
  if (page.bad_marker) return bad_field("page_marker is none of these");
  QueryAnswer answer;
  for (const auto& row : page.rows) answer.add_json(row_json(question, row));
  answer.set_next_marker(page.next_marker);
  return answer;
}

QueryAnswer QueryService::usage_events(Own& own, const v1::Query& query) {
  const auto& wanted = query.list_usage_events();
  const auto line = parse_line_name(wanted.record());
  if (!line) return not_found();
  const auto project = own.reader.project_of(line->instance_id);
  if (!project || !sees(query.scope(), *project)) return not_found();
  const auto hosts = own.reader.hosts_of(*line);
  const TracePage page =
      own.trace.events_of(*line, hosts, own.reader.last_position_of(*line),
                          wanted.after_position(), std::min(limit_of(wanted.limit()), 500U));
  QueryAnswer answer;
  for (const auto& event : page.events) answer.add_json(event);
  if (page.next_position != 0) answer.set_next_marker(std::to_string(page.next_position));
  return answer;
}

QueryAnswer QueryService::invoice(Own& own, const v1::Query& query) {
  const auto& wanted = query.get_invoice();
  if (!sees(query.scope(), wanted.project_id())) return not_found();
  InvoiceQuestion question{wanted.project_id(), wanted.month(), wanted.price_list_id(),
                           wanted.compare_with_id(), wanted.at_position()};
  size_t first = 0;
  if (!wanted.marker().empty()) {  // "<position>.<first>": the pages are of one invoice
    const std::string& text = wanted.marker();
    const char* end = text.data() + text.size();
    const auto at = std::from_chars(text.data(), end, question.at_position);
    const bool good = at.ec == std::errc() && at.ptr != end && *at.ptr == '.' &&
                      std::from_chars(at.ptr + 1, end, first).ptr == end;
    if (!good || question.at_position <= 0) return bad_field("page_marker is none of these");
  }
  if (question.at_position > catalog_.position()) {
    return bad_field("at is a position that the log does not have yet");
  }
  const auto made = invoices_.make(question, static_cast<int64_t>(query.min_position()),
                                   own.reader, own.trace);
  if (const auto* problem = std::get_if<InvoiceProblem>(&made)) {
    switch (*problem) {
      case InvoiceProblem::no_price_list: return not_found();
      case InvoiceProblem::no_month: return bad_field("the month must have the form 2026-11");
      case InvoiceProblem::not_yet:
        return failed(v1::QUERY_STATUS_BEHIND, "metering has not reached that position");
    }
  }
  const Invoice& invoice = *std::get<std::shared_ptr<const Invoice>>(made);
  QueryAnswer answer = found(invoice_head_json(invoice));
  size_t bytes = 0, shown = 0;
  for (auto& item : invoice_items(invoice, first, limit_of(wanted.limit()))) {
    if (bytes + item.size() > kMostBytes) break;
    bytes += item.size();
    ++shown;
    answer.add_json(std::move(item));
  }
  if (first + shown < invoice.items()) {
    answer.set_next_marker(std::to_string(invoice.position) + "." + std::to_string(first + shown));
  }
  return answer;
}

QueryAnswer QueryService::deliveries(const v1::Query& query) {
  const auto& wanted = query.get_deliveries();
  const auto view = catalog_.view();
  if (!query.scope().all_projects() || !view->webhooks.contains(wanted.webhook_id())) {
    return not_found();
  }
  const uint32_t limit = std::min(limit_of(wanted.limit()), 200U);
  return found(options_.deliveries(wanted.webhook_id(), limit));
}

}  // namespace trunkline::metering
