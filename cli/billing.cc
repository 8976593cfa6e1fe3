// Usage, invoices, price lists and webhooks.
#include <fstream>
#include <iterator>

#include "base/ids.h"
#include "cli/commands.h"

namespace trunkline::cli {
namespace {

const std::string kPriceLists = "/v1/price-lists";
const std::string kWebhooks = "/v1/webhooks";
// An old one is added up from the log.
constexpr std::chrono::milliseconds kInvoiceTimeout{65'000};

const std::vector<Field> kUsageColumns = {
    {"FROM", "window_start"},     {"TO", "window_end"},  {"PROJECT", "project_id"},
    {"INSTANCE", "instance"},     {"NODE", "node"},      {"METER", "meter"},
    {"STATE", "state"},           {"QUANTITY", "quantity", true}, {"UNIT", "unit"}};
const std::vector<Field> kLineColumns = {
    {"INSTANCE", "instance"}, {"NAME", "name", false, true}, {"METER", "meter"},
    {"STATE", "state"},       {"QUANTITY", "quantity", true}, {"UNIT", "unit"},
    {"PRICE", "price", true}, {"PER", "per", true},          {"AMOUNT", "amount", true}};
const std::vector<Field> kInvoiceFields = {
    {"project", "project_id"}, {"month", "month"},
    {"price list", "price_list.name"}, {"position", "position"},
    {"complete", "complete"},  {"currency", "currency"},
    {"total", "total"},        {"compared total", "compared.total"},
    {"difference", "compared.difference"}};
const std::vector<Field> kPriceListColumns = {
    {"UUID", "uuid"},         {"NAME", "name", false, true}, {"CURRENCY", "currency"},
    {"VERSION", "number", true}, {"VALID FROM", "valid_from"}};
const std::vector<Field> kPriceListFields = {
    {"uuid", "uuid"},       {"name", "name"},             {"currency", "currency"},
    {"version", "number"},  {"valid from", "valid_from"}, {"retired", "retired_at"}};
const std::vector<Field> kPriceColumns = {{"METER", "meter"},       {"STATE", "state"},
                                          {"PLAN", "plan"},         {"AMOUNT", "amount", true},
                                          {"PER", "per", true}};
const std::vector<Field> kWebhookColumns = {
    {"UUID", "uuid"},       {"URL", "url", false, true}, {"PROJECT", "project_id"},
    {"ENABLED", "enabled"}, {"TROUBLE", "trouble.rule"}, {"CREATED", "created_at"}};
const std::vector<Field> kWebhookFields = {
    {"uuid", "uuid"},       {"url", "url"},         {"project", "project_id"},
    {"description", "description"}, {"enabled", "enabled"},
    {"key", "key_number"},  {"secret", "secret"},   {"created", "created_at"},
    {"updated", "updated_at"}, {"trouble", "trouble.rule"},
    {"why", "trouble.why"}};
const std::vector<Field> kDeliveriesFields = {
    {"delivered position", "delivered_position"}, {"pending", "pending"},
    {"tries", "tries"},                           {"next try", "next_try_at"}};
const std::vector<Field> kAttemptColumns = {
    {"AT", "at"},      {"RECORD", "record"}, {"TRY", "try", true}, {"STATUS", "status", true},
    {"MS", "duration_ms", true},             {"ERROR", "error", false, true}};

Json file_json(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  Json body = Json::parse(text, nullptr, false);
  if (!file.is_open() || !body.is_object()) {
    throw Failure(ExitCode::usage, path + " is no file with a JSON object");
  }
  return body;
}

std::vector<Json> rows_of(const Json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end() || !found->is_array()) return {};
  return {found->begin(), found->end()};
}

// The document as it is after a write, also when it was not answered in time.
ExitCode finish(Session& session, const std::vector<Field>& fields, ApiClient::Written written) {
  if (!written.operation.empty()) {
    const Json done = wait_for_operation(session.api(), written.operation, 120);
    if (!written.document.contains("secret")) written.document = done;
  }
  if (!written.document.is_null()) session.print_document(fields, written.document);
  return ExitCode::ok;
}

struct UsageOptions {
  std::vector<std::pair<std::string, std::string>> query;
  size_t limit = 0;
};

}  // namespace

void add_usage(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("usage", "what was used, in windows and groups");
  command->fallthrough();
  auto options = std::make_shared<UsageOptions>();
  const auto parameter = [&](const char* option, const char* name, const char* values,
                             const char* about) {
    command
        ->add_option_function<std::string>(
            option,
            [options, name](const std::string& value) { options->query.emplace_back(name, value); },
            about)
        ->type_name(values);
  };
  parameter("--project", "project", "UUID", "of this project (default: all that the token sees)");
  parameter("--instance", "instance", "UUID", "of this instance (default: all)");
  parameter("--node", "node", "UUID", "of this node (default: all)");
  parameter("--meter", "meter", "NAME,…", "these meters, like vcpu_seconds (default: all)");
  parameter("--from", "from", "TIME", "RFC 3339, from its window on (default: a day before --to)");
  parameter("--to", "to", "TIME", "RFC 3339, up to then (default: now)");
  parameter("--window", "window", "1m|1h|1d|1mo", "length of a row's window, UTC (default: 1h)");
  parameter("--group-by", "group_by", "project|instance|node|meter|state,…",
            "a row of each of these (default: instance,meter)");
  command->add_option("-n", options->limit, "only the first N (default: all)")->type_name("N");
  command->callback([&session, options] {
    session.action = [&session, options] {
      session.print_rows(kUsageColumns,
                         session.api().list("/v1/usage", options->query, options->limit));
      return ExitCode::ok;
    };
  });
}

void add_invoices(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "invoices", "what a month of a project costs");
  CLI::App* command = add_command(*group, "get", "compute one");
  struct Options {
    std::string project, month, price_list, compare_with, at;
  };
  auto options = std::make_shared<Options>();
  command->add_option("project", options->project, "whose invoice")->required()->type_name("UUID");
  command->add_option("month", options->month, "like 2026-11")->required()->type_name("MONTH");
  command->add_option("--price-list", options->price_list, "name or UUID")
      ->required()
      ->type_name("NAME");
  command->add_option("--compare-with", options->compare_with,
                      "name or UUID of another price list (default: none)")
      ->type_name("NAME");
  command->add_option("--at", options->at, "as of this position of the log (default: now)")
      ->type_name("POSITION");
  command->callback([&session, options] {
    session.action = [&session, options] {
      ApiClient& api = session.api();
      Query query{{"price_list", resolve(api, kPriceLists, options->price_list, "price list")}};
      if (!options->compare_with.empty()) {
        query.emplace_back("compare_with",
                           resolve(api, kPriceLists, options->compare_with, "price list"));
      }
      if (!options->at.empty()) query.emplace_back("at", options->at);
      const Json invoice =
          api.get_pages("/v1/invoices/" + options->project + "/" + options->month, query,
                        kInvoiceTimeout);
      session.print_document(kInvoiceFields, invoice);
      if (session.json) return ExitCode::ok;
      session.terminal.out << "\n";
      session.print_rows(kLineColumns, rows_of(invoice, "lines"));
      return ExitCode::ok;
    };
  });
}

void add_price_lists(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "price-lists", "prices of meters, in versions");
  CLI::App* list = add_command(*group, "list", "list them");
  list->callback([&session] {
    session.action = [&session] {
      session.print_rows(kPriceListColumns, session.api().list(kPriceLists));
      return ExitCode::ok;
    };
  });
  auto name = std::make_shared<std::string>();
  auto file = std::make_shared<std::string>();
  CLI::App* get = add_command(*group, "get", "show one and its prices");
  get->add_option("price-list", *name, "name or UUID")->required()->type_name("NAME");
  get->callback([&session, name] {
    session.action = [&session, name] {
      const Json found = session.api().get(
          kPriceLists + "/" + resolve(session.api(), kPriceLists, *name, "price list"));
      session.print_document(kPriceListFields, found);
      if (session.json) return ExitCode::ok;
      session.terminal.out << "\n";
      session.print_rows(kPriceColumns, rows_of(found, "prices"));
      return ExitCode::ok;
    };
  });
  CLI::App* publish = add_command(*group, "publish", "publish a list, or a new version of one");
  publish->add_option("file", *file, "JSON: name, currency, valid_from, prices")
      ->required()
      ->type_name("FILE");
  publish->add_option("--as-version-of", *name,
                      "name or UUID of the list (default: a new list)")
      ->type_name("NAME");
  publish->callback([&session, name, file] {
    session.action = [&session, name, file] {
      ApiClient& api = session.api();
      const Json body = file_json(*file);
      if (name->empty()) return finish(session, kPriceListFields, api.post(kPriceLists, body));
      const std::string uuid = resolve(api, kPriceLists, *name, "price list");
      return finish(session, kPriceListFields, api.put(kPriceLists + "/" + uuid, body));
    };
  });
  CLI::App* retire = add_command(*group, "retire", "no new versions; invoices may name it still");
  retire->add_option("price-list", *name, "name or UUID")->required()->type_name("NAME");
  retire->callback([&session, name] {
    session.action = [&session, name] {
      const std::string uuid = resolve(session.api(), kPriceLists, *name, "price list");
      return finish(session, kPriceListFields, session.api().remove(kPriceLists + "/" + uuid));
    };
  });
}

namespace {

// A command on the one webhook that its argument names.
CLI::App* add_on_webhook(CLI::App& group, Session& session, const std::string& name,
                         const std::string& about,
                         std::function<ExitCode(const std::string& path)> work) {
  CLI::App* command = add_command(group, name, about);
  auto uuid = std::make_shared<std::string>();
  command->add_option("webhook", *uuid, "as list shows it")->required()->type_name("UUID");
  command->callback([&session, uuid, work = std::move(work)] {
    session.action = [uuid, work] {
      if (!is_uuid(*uuid)) throw Failure(ExitCode::usage, "webhook must be a UUID");
      return work(kWebhooks + "/" + *uuid);
    };
  });
  return command;
}

void add_webhook_writers(CLI::App& group, Session& session) {
  struct Options {
    std::string url, project, description, from;
  };
  auto options = std::make_shared<Options>();
  CLI::App* create = add_command(group, "create", "have records delivered; shows the key once");
  create->add_option("--url", options->url, "where usage is delivered to, https")
      ->required()
      ->type_name("URL");
  create->add_option("--project", options->project, "only of this project (default: of all)")
      ->type_name("UUID");
  create->add_option("--description", options->description, "for people (default: none)")
      ->type_name("WORDS");
  create->callback([&session, options] {
    session.action = [&session, options] {
      Json body = {{"url", options->url}};
      if (!options->project.empty()) body["project_id"] = options->project;
      if (!options->description.empty()) body["description"] = options->description;
      return finish(session, kWebhookFields, session.api().post(kWebhooks, body));
    };
  });
  const auto put = [&session](const Json& body) {
    return [&session, body](const std::string& path) {
      return finish(session, kWebhookFields, session.api().put(path, body));
    };
  };
  add_on_webhook(group, session, "enable", "deliver again", put({{"enabled", true}}));
  add_on_webhook(group, session, "disable", "deliver nothing", put({{"enabled", false}}));
  add_on_webhook(group, session, "rotate-key", "a new key, shown once",
                 put({{"rotate_key", true}}));
  add_on_webhook(group, session, "delete", "delete it", [&session](const std::string& path) {
    return finish(session, kWebhookFields, session.api().remove(path));
  });
  add_on_webhook(group, session, "forget-dead-letters", "its dead letters are dealt with",
                 [&session](const std::string& path) {
                   return finish(session, kWebhookFields,
                                 session.api().remove(path + "/dead-letters"));
                 });
  CLI::App* resend = add_on_webhook(
      group, session, "resend", "deliver again from a time on",
      [&session, options](const std::string& path) {
        const Json body = {{"from", options->from}};
        return finish(session, kWebhookFields, session.api().post(path + "/resend", body));
      });
  resend->add_option("--from", options->from, "from the records of then on, RFC 3339")
      ->required()
      ->type_name("TIME");
}

}  // namespace

void add_webhooks(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "webhooks", "delivery of usage records by HTTP");
  CLI::App* list = add_command(*group, "list", "list them");
  list->callback([&session] {
    session.action = [&session] {
      session.print_rows(kWebhookColumns, session.api().list(kWebhooks));
      return ExitCode::ok;
    };
  });
  add_on_webhook(*group, session, "get", "show one", [&session](const std::string& path) {
    session.print_document(kWebhookFields, session.api().get(path));
    return ExitCode::ok;
  });
  add_on_webhook(*group, session, "deliveries", "its newest tries and its dead letters",
                 [&session](const std::string& path) {
                   const Json found = session.api().get(path + "/deliveries");
                   session.print_document(kDeliveriesFields, found);
                   if (session.json) return ExitCode::ok;
                   session.terminal.out << "\n";
                   session.print_rows(kAttemptColumns, rows_of(found, "attempts"));
                   session.terminal.out << "\ndead letters:\n";
                   session.print_rows(kAttemptColumns, rows_of(found, "dead_letters"));
                   return ExitCode::ok;
                 });
  add_webhook_writers(*group, session);
}

}  // namespace trunkline::cli
