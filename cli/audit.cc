// Who asked for what, from where, and what came of it.
#include <algorithm>

#include "cli/commands.h"

namespace trunkline::cli {
namespace {

const std::vector<Field> kColumns = {
    {"TIME", "time"},
    {"ACTOR", "actor"},
    {"ROLE", "role"},
    {"FROM", "client_address"},
    {"COMMAND", "command"},
    {"TARGET", "target"},
    {"OUTCOME", "outcome"},
    {"RULE", "rule"},
    {"AGENT", "user_agent", false, true},
};

struct AuditWish {
  Query query;
  int64_t limit = 50;
};

// The newest last, as a log is read.
ExitCode show_audit(Session& session, const AuditWish& wish) {
  std::vector<Json> rows =
      session.api().list("/v1/audit", wish.query, static_cast<size_t>(wish.limit));
  std::ranges::reverse(rows);
  session.print_rows(kColumns, rows);
  return ExitCode::ok;
}

}  // namespace

void add_audit(CLI::App& app, Session& session) {
  auto wish = std::make_shared<AuditWish>();
  CLI::App* command = add_command(app, "audit", "who asked for what, and what came of it");
  const auto filter = [&](const std::string& name, const std::string& about, const char* type) {
    command
        ->add_option_function<std::string>(
            "--" + name,
            [wish, name](const std::string& value) { wish->query.emplace_back(name, value); },
            about)
        ->type_name(type);
  };
  filter("project", "about this project (default: all that the token sees)", "UUID");
  filter("actor", "by this one: the UUID of a token, or as entries have it (default: anybody)",
         "WHO");
  filter("from", "at or after this RFC 3339 time (default: the beginning)", "TIME");
  filter("to", "before this RFC 3339 time (default: now)", "TIME");
  filter("outcome", "what came of it (default: anything)", "accepted|ignored|rejected");
  command->add_option("-n,--limit", wish->limit, "the newest N (default 50; 0: all)")
      ->check(CLI::Range(0, 1000000))
      ->type_name("N");
  command->callback([&session, wish] {
    session.action = [&session, wish] { return show_audit(session, *wish); };
  });
}

}  // namespace trunkline::cli
