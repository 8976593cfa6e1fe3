#include "supervisor/io/config_file.h"

#include <csignal>
#include <fstream>
#include <set>
#include <stdexcept>

namespace trunkline::supervisor {
namespace {

using nlohmann::ordered_json;

int signal_number(const std::string& name) {
  if (name == "TERM") return SIGTERM;
  if (name == "INT") return SIGINT;
  if (name == "QUIT") return SIGQUIT;
  throw std::runtime_error("stop_signal must be TERM, INT or QUIT, not " + name);
}

std::vector<std::string> command(const ordered_json& process, const char* field) {
  auto argv = process.value(field, std::vector<std::string>{});
  if (!argv.empty() && !argv[0].starts_with('/')) {
    throw std::runtime_error(std::string(field) + " must start with an absolute path");
  }
  return argv;
}

ReadyCheck ready_check(const ordered_json& process) {
  if (!process.contains("ready")) return {};
  const auto& ready = process.at("ready");
  if (ready.contains("tcp")) return {ReadyCheck::Kind::tcp, ready.at("tcp")};
  if (ready.contains("unix")) return {ReadyCheck::Kind::unix_socket, ready.at("unix")};
  throw std::runtime_error("ready must have tcp or unix");
}

ProcessSpec process_spec(const ordered_json& process) {
  ProcessSpec spec;
  spec.argv = command(process, "argv");
  if (spec.argv.empty()) throw std::runtime_error("argv is empty");
  spec.user = process.value("user", "");
  spec.env = process.value("env", std::map<std::string, std::string>{});
  spec.log = process.at("log");
  spec.level = process.value("level", 0);
  spec.stop_signal = signal_number(process.value("stop_signal", "TERM"));
  spec.stop_deadline = Millis(process.value("stop_deadline_ms", 10'000));
  spec.ready = ready_check(process);
  spec.prepare = command(process, "prepare");
  spec.cleanup = command(process, "cleanup");
  spec.cleanup_deadline = Millis(process.value("cleanup_deadline_ms", 60'000));
  return spec;
}

}  // namespace

SupervisorConfig read_config(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  SupervisorConfig config;
  std::string where = path;
  try {
    const auto document = ordered_json::parse(file);
    config.pid_dir = document.at("pid_dir");
    config.run_file = document.at("run_file");
    config.run = document.at("run");
    config.own_log = document.value("own_log", "");
    std::set<std::string> names;
    for (const auto& process : document.at("processes")) {
      const std::string name = process.at("name");
      where = path + ": process " + name;
      if (name.empty() || name.find('/') != std::string::npos || !names.insert(name).second) {
        throw std::runtime_error("name must be unique, not empty and without a slash");
      }
      config.processes.push_back(process_spec(process));
      config.processes.back().name = name;
    }
  } catch (const std::exception& e) {
    throw std::runtime_error(where + ": " + e.what());
  }
  return config;
}

}  // namespace trunkline::supervisor
