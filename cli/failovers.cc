// Failovers of an instance: what happened and why, and asking for one.
#include <algorithm>
#include <chrono>
#include <thread>

#include "cli/commands.h"

namespace trunkline::cli {
namespace {

const std::string kCollection = kResources + "instances";

const std::vector<Field> kColumns = {
    {"TERM", "term", true},     {"KIND", "kind"},
    {"STATUS", "status"},       {"STARTED", "started_at"},
    {"MS", "duration_ms", true}, {"FROM", "from_host"},
    {"TO", "to_host"},          {"LOST", "lost_bytes", true},
    {"RULE", "rule"},           {"WHY", "why", false, true},
};
const std::vector<Field> kReplayColumns = {
    {"POSITION", "position", true}, {"TIME", "time"},
    {"EVENT", "event"},             {"RESULT", "result"},
    {"RULE THEN", "then.rule"},     {"RULE NOW", "now.rule"},
    {"ASSIGNED THEN", "then.assigns", false, true},
    {"ASSIGNS NOW", "now.assigns", false, true},
    {"WHY", "why", false, true},
};
const std::vector<Field> kInstanceFields = {
    {"uuid", "uuid"},           {"name", "name"},
    {"status", "status"},       {"term", "term"},
    {"failover", "failover.kind"}, {"since", "failover.since"},
    {"rule", "failover.rule"},  {"why", "failover.why"},
};

std::string instance_path(Session& session, const std::string& instance) {
  return kCollection + "/" + resolve(session.api(), kCollection, instance, "instance");
}

std::string where(const Json& failover, const std::string& which) {
  const std::string host = text_of(failover, which + "_host");
  const std::string node = text_of(failover, which + "_node");
  if (node.empty()) return "nobody";
  return host.empty() ? "node " + node : host + " (node " + node + ")";
}

std::string facts_of(const Json& decision, const std::string& indent) {
  std::string out;
  const auto facts = decision.find("facts");
  if (facts == decision.end() || !facts->is_array()) return out;
  for (const Json& fact : *facts) {
    if (fact.is_string()) out += indent + printable(fact.get<std::string>()) + "\n";
  }
  return out;
}

std::string decided(const Json& decision) {
  return printable(text_of(decision, "why")) + " [" + printable(text_of(decision, "rule")) + "]";
}

// One paragraph: when, why and from which facts, what it waited for, who became primary, and how
// long that took.
std::string explained(const Json& failover) {
  const std::string kind = text_of(failover, "kind"), status = text_of(failover, "status");
  const bool is_refused = status == "REFUSED" || status == "WITHDRAWN";
  std::string out = "Term " + text_of(failover, "term") + ": ";
  out += is_refused ? "the primary is away and nobody may be promoted, since "
                    : printable(kind) + " away from " + printable(where(failover, "from")) +
                          ", begun ";
  out += printable(text_of(failover, "started_at"));
  const std::string asker = text_of(failover, "requested_by");
  if (!asker.empty()) out += " for " + printable(asker);
  out += ".\n  Why: " + decided(failover) + "\n" + facts_of(failover, "    ");
  const auto blocked = failover.find("blocked");
  if (blocked != failover.end() && blocked->is_array()) {
    for (const Json& wait : *blocked) {
      out += "  Waited, " + printable(text_of(wait, "at")) + ": " + decided(wait) + "\n" +
             facts_of(wait, "    ");
    }
  }
  const auto promotion = failover.find("promotion");
  if (promotion != failover.end()) {
    out += "  Promoted " + printable(where(failover, "to")) + ", " +
           printable(text_of(failover, "promoted_at")) + ": " + decided(*promotion) + "\n" +
           facts_of(*promotion, "    ");
  }
  const std::string lost = text_of(failover, "lost_bytes");
  if (!lost.empty() && lost != "0") out += "  Lost: " + lost + " bytes of WAL.\n";
  if (status == "COMPLETED") {
    out += "  Open again " + printable(text_of(failover, "opened_at")) + ", after " +
           text_of(failover, "duration_ms") + " ms.\n";
  } else if (status == "GIVEN_UP") {
    out += "  Given up: the old primary went on, " + printable(text_of(failover, "opened_at")) +
           ".\n";
  } else if (status == "SUPERSEDED") {
    out += "  It did not come to an end: a later term took its place.\n";
  } else if (status == "WITHDRAWN") {
    out += "  The primary came back.\n";
  } else {
    out += status == "UNDER_WAY" ? "  It is under way.\n" : "  It still waits.\n";
  }
  return out;
}

struct Order {
  std::string instance;
  std::string target;
  bool accept_data_loss = false;
  WaitOptions wait;
};

uint64_t term_of(const Json& instance) {
  const auto term = instance.find("term");
  return term != instance.end() && term->is_number_unsigned() ? term->get<uint64_t>() : 0;
}

// Until a primary of a later term is open.
Json wait_until_open(Session& session, const std::string& path, uint64_t before,
                     int64_t timeout_s) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s);
  Json instance;
  do {
    instance = session.api().get(path);
    if (term_of(instance) > before && !instance.contains("failover")) return instance;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  } while (std::chrono::steady_clock::now() < deadline);
  const std::string why = text_of(instance, "failover.why");
  throw Failure(ExitCode::unavailable, "not done after " + std::to_string(timeout_s) + " s" +
                                           (why.empty() ? "" : ": " + printable(why)));
}

// A primary of a later term is open: it can be the old one again.
void refuse_if_given_up(Session& session, const std::string& path) {
  const auto newest = session.api().list(path + "/failovers", {}, 1);
  if (newest.empty() || text_of(newest[0], "status") != "GIVEN_UP") return;
  throw Failure(ExitCode::went_to_error,
                "given up: " + printable(text_of(newest[0], "promotion.why")));
}

ExitCode carry_out(Session& session, const Order& order, const std::string& what, Json body) {
  const std::string path = instance_path(session, order.instance);
  const uint64_t before = order.wait.wait ? term_of(session.api().get(path)) : 0;
  if (!order.target.empty()) body["target"] = order.target;
  auto written = session.api().post(path + "/" + what, body);
  if (!written.operation.empty()) {
    wait_for_operation(session.api(), written.operation, order.wait.timeout_s);
    written.document = session.api().get(path);
  }
  if (order.wait.wait) {
    written.document = wait_until_open(session, path, before, order.wait.timeout_s);
    refuse_if_given_up(session, path);
  }
  session.print_document(kInstanceFields, written.document);
  return ExitCode::ok;
}

CLI::App* add_order(CLI::App& group, const std::string& name, const std::string& about,
                    Order& order) {
  CLI::App* command = add_command(group, name, about);
  command->add_option("instance", order.instance, "name or UUID")->required()->type_name("NAME");
  command->add_option("--to", order.target, "UUID of the node (default: the one that is furthest)")
      ->type_name("NODE");
  command->add_flag("--wait", order.wait.wait, "wait until the new primary is open");
  command->add_option("--timeout", order.wait.timeout_s, "seconds to wait at most (default 120)")
      ->check(CLI::Range(1, 86400))
      ->type_name("S");
  return command;
}

void add_orders(CLI::App& group, Session& session) {
  auto planned = std::make_shared<Order>();
  CLI::App* switchover =
      add_order(group, "switchover", "make a standby the primary; clients notice nothing",
                *planned);
  switchover->callback([&session, planned] {
    session.action = [&session, planned] {
      return carry_out(session, *planned, "switchover", Json::object());
    };
  });
  auto forced = std::make_shared<Order>();
  CLI::App* override_ = add_order(
      group, "override", "make a standby the primary although writes may be lost", *forced);
  override_
      ->add_flag("--accept-data-loss", forced->accept_data_loss,
                 "needed: what the chosen standby does not have is lost for good")
      ->required();
  override_->callback([&session, forced] {
    session.action = [&session, forced] {
      return carry_out(session, *forced, "failover",
                       {{"accept_data_loss", forced->accept_data_loss}});
    };
  });
}

void add_reader(CLI::App& group, Session& session, const std::string& name,
                const std::string& about,
                std::function<void(const std::vector<Json>&)> print) {
  CLI::App* command = add_command(group, name, about);
  auto instance = std::make_shared<std::string>();
  auto limit = std::make_shared<size_t>(0);
  command->add_option("instance", *instance, "name or UUID")->required()->type_name("NAME");
  command->add_option("-n", *limit, "only the newest N (default: all)")->type_name("N");
  command->callback([&session, instance, limit, print = std::move(print)] {
    session.action = [&session, instance, limit, print] {
      print(session.api().list(instance_path(session, *instance) + "/failovers", {}, *limit));
      return ExitCode::ok;
    };
  });
}

struct ReplayWish {
  std::string instance;
  int64_t position = 0;
  size_t limit = 0;
};

ExitCode replay(Session& session, const ReplayWish& wish) {
  Query query;
  if (wish.position != 0) query.emplace_back("position", std::to_string(wish.position));
  const auto all = session.api().list(
      instance_path(session, wish.instance) + "/failovers/replay", query, wish.limit);
  session.print_rows(kReplayColumns, all);
  const auto is_different = [](const Json& one) { return text_of(one, "result") == "DIFFERENT"; };
  return std::any_of(all.begin(), all.end(), is_different) ? ExitCode::decides_otherwise
                                                           : ExitCode::ok;
}

void add_replay(CLI::App& group, Session& session) {
  CLI::App* command = add_command(
      group, "replay", "take its decisions again by the present rules; exit code 7: one differs");
  auto wish = std::make_shared<ReplayWish>();
  command->add_option("instance", wish->instance, "name or UUID")->required()->type_name("NAME");
  command
      ->add_option("--position", wish->position,
                   "only the decision at this place in the log (default: all)")
      ->check(CLI::Range(int64_t{1}, INT64_MAX))
      ->type_name("N");
  command->add_option("-n", wish->limit, "only the newest N (default: all)")->type_name("N");
  command->callback([&session, wish] {
    session.action = [&session, wish] { return replay(session, *wish); };
  });
}

}  // namespace

void add_failovers(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "failovers", "changes of an instance's primary, and why");
  add_reader(*group, session, "list", "list an instance's failovers, newest first",
             [&session](const std::vector<Json>& all) { session.print_rows(kColumns, all); });
  add_reader(*group, session, "explain", "tell when, why and how long, a paragraph each",
             [&session](const std::vector<Json>& all) {
               if (session.json) return session.print_rows(kColumns, all);
               for (const Json& failover : all) session.terminal.out << explained(failover);
             });
  add_replay(*group, session);
  add_orders(*group, session);
}

}  // namespace trunkline::cli
