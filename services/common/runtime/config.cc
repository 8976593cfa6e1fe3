#include "runtime/config.h"

#include <signal.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

namespace trunkline::runtime {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

std::string config_path(int argc, char** argv) {
  constexpr std::string_view option = "--config";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == option) {
      if (i + 1 < argc) return argv[i + 1];
      break;
    }
    if (argument.size() > option.size() && argument.substr(0, option.size()) == option &&
        argument[option.size()] == '=') {
      return std::string(argument.substr(option.size() + 1));
    }
  }
  throw std::runtime_error("usage: <program> --config FILE");
}

std::string read_private_file(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                       &std::fclose);
  if (!file) throw std::runtime_error(path + ": " + std::strerror(errno));
  struct stat status {};
  if (fstat(fileno(file.get()), &status) != 0) {
    throw std::runtime_error(path + ": " + std::strerror(errno));
  }
  if ((status.st_mode & 077) != 0) {
    throw std::runtime_error(path + ": holds a password, so its mode must be 0600");
  }
  std::string text(kMaxConfigBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) throw std::runtime_error(path + ": cannot be read");
  if (text.size() > kMaxConfigBytes) throw std::runtime_error(path + ": larger than 1 MiB");
  return text;
}

// The library's own messages quote the text around the place, which may be a password.
nlohmann::json parse(const std::string& path, const std::string& text) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    throw std::runtime_error(path + ": not JSON, see byte " + std::to_string(error.byte));
  }
}

std::string text_field(const std::string& path, const nlohmann::json& object, const char* name,
                       bool required) {
  const auto found = object.find(name);
  if (found == object.end()) {
    if (!required) return {};
    throw std::runtime_error(path + ": \"" + name + "\" is missing");
  }
  if (!found->is_string()) throw std::runtime_error(path + ": \"" + name + "\" must be a string");
  return found->get<std::string>();
}

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

ServiceConfig load_config(int argc, char** argv) {
  const std::string path = config_path(argc, argv);
  auto json = std::make_shared<const nlohmann::json>(parse(path, read_private_file(path)));
  if (!json->is_object()) throw std::runtime_error(path + ": must be a JSON object");
  ServiceConfig config;
  config.service = text_field(path, *json, "service", true);
  config.home = text_field(path, *json, "home", true);
  config.log_dsn = text_field(path, *json, "log_dsn", false);
  config.read_model_dsn = text_field(path, *json, "read_model_dsn", false);
  config.metrics_listen = text_field(path, *json, "metrics_listen", false);
  const auto nats = json->find("nats");
  if (nats != json->end()) {
    if (!nats->is_object()) throw std::runtime_error(path + ": \"nats\" must be an object");
    config.bus.url = text_field(path, *nats, "url", true);
    config.bus.user = text_field(path, *nats, "user", true);
    config.bus.password = text_field(path, *nats, "password", true);
    config.bus.client_name = config.service;
  }
  config.raw = std::move(json);
  return config;
}

void block_stop_signals() {
  const sigset_t set = stop_signals();
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    throw std::runtime_error(std::string("pthread_sigmask: ") + std::strerror(error));
  }
}

void wait_for_stop_signal() {
  const sigset_t set = stop_signals();
  int signal = 0;
  while (sigwait(&set, &signal) == EINTR) {
  }
}

}  // namespace trunkline::runtime
