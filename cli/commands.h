// The commands, one function a group: each adds its subcommands to `app` and, when one of them is
// parsed, sets session.action. Nothing is done while arguments are parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/session.h"

namespace trunkline::cli {

void add_instances(CLI::App& app, Session& session);
void add_failovers(CLI::App& app, Session& session);
void add_users(CLI::App& app, Session& session);
void add_databases(CLI::App& app, Session& session);
void add_versions(CLI::App& app, Session& session);
void add_hosts(CLI::App& app, Session& session);
void add_tokens(CLI::App& app, Session& session);
void add_quotas(CLI::App& app, Session& session);
void add_operations(CLI::App& app, Session& session);
void add_usage(CLI::App& app, Session& session);
void add_invoices(CLI::App& app, Session& session);
void add_price_lists(CLI::App& app, Session& session);
void add_webhooks(CLI::App& app, Session& session);
void add_log(CLI::App& app, Session& session);
void add_logs(CLI::App& app, Session& session);
void add_audit(CLI::App& app, Session& session);
void add_status(CLI::App& app, Session& session);
void add_completion(CLI::App& app, Session& session);

// A group of subcommands of which one must be given, and one of its commands. Options that a
// command does not know are looked up in `app`, so that -o, --api and the like may stand anywhere.
CLI::App* add_group(CLI::App& app, const std::string& name, const std::string& about);
CLI::App* add_command(CLI::App& group, const std::string& name, const std::string& about);

// --wait and --timeout.
void add_wait(CLI::App& command, WaitOptions& wait,
              const std::string& until = "wait until it is ACTIVE or in ERROR");

// Everything that there is; parsing it sets session.action.
std::unique_ptr<CLI::App> make_app(Session& session);

// Runs the whole command line (without the program's name) and answers the process's exit code;
// never throws. Errors go to terminal.err in one line "trunkline: …".
int run(const std::vector<std::string>& arguments, const Terminal& terminal,
        const GetEnvironment& environment);

}  // namespace trunkline::cli
