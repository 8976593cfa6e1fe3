// PostgreSQL's own log of an instance.
#include "cli/commands.h"

namespace trunkline::cli {
namespace {

struct LogsWish {
  std::string instance;
  std::string node;
  std::string since;
  int64_t lines = 200;
  bool follow = false;
};

// What could drive a terminal does not reach it.
std::string harmless(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) c = '?';
  }
  return out;
}

ExitCode show_logs(Session& session, const LogsWish& wish) {
  const std::string collection = kResources + "instances";
  const std::string path = collection + "/" +
                           resolve(session.api(), collection, wish.instance, "instance") + "/logs";
  Query query = {{"limit", std::to_string(wish.lines)}};
  if (!wish.node.empty()) query.emplace_back("node", wish.node);
  if (!wish.since.empty()) query.emplace_back("since", wish.since);
  if (wish.follow) query.emplace_back("follow", "true");
  const auto print = [&session](std::string_view text) {
    session.terminal.out << harmless(text) << std::flush;
    return session.terminal.out.good();
  };
  auto fields = session.api().pour(path, query, print);
  // The API ends what was followed for long, and says where; the next answer begins there.
  while (wish.follow && session.terminal.out.good()) {
    const std::string place = fields["x-log-place"];
    if (place.empty()) throw Failure(ExitCode::unavailable, "the API does not say where it ended");
    fields = session.api().pour(path, {{"from", place}, {"follow", "true"}}, print);
  }
  return ExitCode::ok;
}

}  // namespace

void add_logs(CLI::App& app, Session& session) {
  auto wish = std::make_shared<LogsWish>();
  CLI::App* command = add_command(app, "logs", "PostgreSQL's log of an instance");
  command->add_option("instance", wish->instance, "name or UUID")->required()->type_name("NAME");
  command->add_flag("-f,--follow", wish->follow, "go on with what comes, until Ctrl-C");
  command->add_option("--node", wish->node, "of this node (default: the primary)")
      ->type_name("UUID");
  command->add_option("--since", wish->since, "not older than this RFC 3339 time (default: any)")
      ->type_name("TIME");
  command->add_option("-n,--limit", wish->lines, "the newest N lines (default 200)")
      ->check(CLI::Range(0, 10000))
      ->type_name("N");
  command->callback([&session, wish] {
    session.action = [&session, wish] { return show_logs(session, *wish); };
  });
}

}  // namespace trunkline::cli
