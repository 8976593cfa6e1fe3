#include "cli/commands.h"
#include "cli/suggestion.h"

namespace trunkline::cli {
namespace {

void add_common_options(CLI::App& app, Session& session) {
  app.add_option("--api", session.platform_options.api,
                 "URL of the REST API (default: as run.json says)")
      ->type_name("URL");
  app.add_option("--token-file", session.platform_options.token_file,
                 "file that holds the token (default: as run.json says)")
      ->type_name("FILE");
  app.add_option("--run-json", session.platform_options.run_json,
                 "run.json of a platform (default: $TRUNKLINE_HOME/run.json, ./.run/run.json)")
      ->type_name("FILE");
  app.add_option_function<std::string>(
         "-o,--output",
         [&session](const std::string& format) { session.json = format == "json"; },
         "how answers are shown (default: table)")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("table|json");
  app.add_flag("--whole", session.whole, "do not cut long cells to the terminal's width");
}

int failed(const Terminal& terminal, ExitCode code, const std::string& message) {
  terminal.err << "trunkline: " << message << std::endl;
  return static_cast<int>(code);
}

}  // namespace

CLI::App* add_group(CLI::App& app, const std::string& name, const std::string& about) {
  CLI::App* group = app.add_subcommand(name, about);
  group->require_subcommand(1);
  group->fallthrough();
  return group;
}

CLI::App* add_command(CLI::App& group, const std::string& name, const std::string& about) {
  CLI::App* command = group.add_subcommand(name, about);
  command->fallthrough();
  return command;
}

void add_wait(CLI::App& command, WaitOptions& wait, const std::string& until) {
  command.add_flag("--wait", wait.wait, until);
  command.add_option("--timeout", wait.timeout_s, "seconds to wait at most (default 120)")
      ->check(CLI::Range(1, 86400))
      ->type_name("S");
}

std::unique_ptr<CLI::App> make_app(Session& session) {
  auto app = std::make_unique<CLI::App>(
      "PostgreSQL as a service: instances and what belongs to them", "trunkline");
  app->require_subcommand(1);
  add_common_options(*app, session);
  for (const auto add :
       {add_instances, add_failovers, add_users, add_databases, add_versions, add_hosts,
        add_tokens, add_quotas, add_operations, add_usage, add_invoices, add_price_lists,
        add_webhooks, add_log, add_logs, add_audit, add_status, add_completion}) {
    add(*app, session);
  }
  return app;
}

int run(const std::vector<std::string>& arguments, const Terminal& terminal,
        const GetEnvironment& environment) {
  try {
    Session session(terminal, environment);
    const auto app = make_app(session);
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    try {
      app->parse(std::move(reversed));
    } catch (const CLI::CallForHelp& help) {
      app->exit(help, terminal.out, terminal.err);
      return static_cast<int>(ExitCode::ok);
    } catch (const CLI::ParseError& error) {
      const std::string meant = what_was_meant(*app, arguments);
      return failed(terminal, ExitCode::usage,
                    printable(meant.empty() ? error.what() : meant) + " (see trunkline --help)");
    }
    return static_cast<int>(session.action());
  } catch (const Failure& failure) {
    return failed(terminal, failure.code, failure.what());
  } catch (const std::exception& error) {
    return failed(terminal, ExitCode::unavailable, printable(error.what()));
  }
}

}  // namespace trunkline::cli
