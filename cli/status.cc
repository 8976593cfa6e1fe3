#include <signal.h>

#include <cerrno>
#include <map>

#include "cli/commands.h"

namespace trunkline::cli {
namespace {

bool is_alive(int64_t pid) {
  return pid > 0 && (kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
}

std::string health_word(int status) {
  if (status == 200) return "ok";
  return status == 0 ? "no answer" : "answers " + std::to_string(status);
}

// "3 ACTIVE, 1 ERROR"
std::string by_status(const std::vector<Json>& rows) {
  std::map<std::string, size_t> counts;
  for (const Json& row : rows) ++counts[text_of(row, "status")];
  std::string out;
  for (const auto& [status, count] : counts) {
    out += (out.empty() ? "" : ", ") + std::to_string(count) + " " + status;
  }
  return out.empty() ? "none" : out;
}

const std::vector<Field> kAlertColumns = {
    {"ALERT", "rule"},   {"SEVERITY", "severity"},
    {"SUBJECT", "subject"}, {"SINCE", "since"},
    {"DETAIL", "detail", false, true},
};

Json alerts(Session& session) { return session.api().get("/v1/admin/alerts"); }

ExitCode show_status(Session& session) {
  const Platform& platform = session.platform();
  Json status = {{"api", platform.api},
                 {"healthz", health_word(session.api().probe("/healthz"))},
                 {"readyz", health_word(session.api().probe("/readyz"))}};
  const bool ready = text_of(status, "readyz") == "ok";
  if (ready) {
    try {
      status["instances"] = by_status(session.api().list(kResources + "instances"));
      status["hosts"] = session.api().list("/v1/hosts").size();
      status["alerts"] = alerts(session);
    } catch (const Failure& failure) {
      status["trouble"] = failure.what();
    }
  }
  Json processes = Json::array();
  bool all_alive = true;
  for (const PlatformProcess& process : platform.processes) {
    const bool alive = is_alive(process.pid);
    all_alive = all_alive && alive;
    processes.push_back({{"name", process.name},
                         {"pid", process.pid},
                         {"state", alive ? "running" : "down"},
                         {"log", process.log}});
  }
  if (session.json) {
    status["processes"] = processes;
    session.print_json(status);
  } else {
    session.print_document({{"api", "api"},
                            {"healthy", "healthz"},
                            {"ready", "readyz"},
                            {"instances", "instances"},
                            {"hosts", "hosts"},
                            {"trouble", "trouble"}},
                           status);
    if (status.contains("alerts") && !status["alerts"].empty()) {
      session.terminal.out << "\n";
      session.print_rows(kAlertColumns, std::vector<Json>(status["alerts"].begin(),
                                                          status["alerts"].end()));
    }
    if (!processes.empty()) {
      session.terminal.out << "\n";
      session.print_rows({{"PROCESS", "name"},
                          {"PID", "pid", true},
                          {"STATE", "state"},
                          {"LOG", "log", false, true}},
                         std::vector<Json>(processes.begin(), processes.end()));
    }
  }
  return ready && all_alive ? ExitCode::ok : ExitCode::unavailable;
}

}  // namespace

void add_status(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, "status", "is it up: API, processes, instances (exit 4 if not)");
  command->callback([&session] { session.action = [&session] { return show_status(session); }; });
  CLI::App* raised = add_command(app, "alerts", "what needs attention now");
  raised->callback([&session] {
    session.action = [&session] {
      const Json all = alerts(session);
      session.print_rows(kAlertColumns, std::vector<Json>(all.begin(), all.end()));
      return ExitCode::ok;
    };
  });
}

}  // namespace trunkline::cli
