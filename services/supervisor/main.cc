// trunkline-supervisor --config FILE [--stop-leftovers]: keeps the processes of one home running.
#include <unistd.h>

#include <exception>
#include <fstream>
#include <string>
#include <utility>

#include "supervisor/io/config_file.h"
#include "supervisor/io/pid_files.h"
#include "supervisor/io/say.h"
#include "supervisor/io/supervisor_loop.h"

namespace {

using namespace trunkline::supervisor;

// Of all that it starts, too: where memory is short the kernel takes what tenants run before the
// platform. It stays as it is where that is not allowed.
void spare_from_oom() {
  std::ofstream("/proc/self/oom_score_adj") << "-900";
}

int usage() {
  say("usage: trunkline-supervisor --config FILE [--stop-leftovers]");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::string config_path;
  bool stop_leftovers_only = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--config" && i + 1 < argc) {
      config_path = argv[++i];
    } else if (argument == "--stop-leftovers") {
      stop_leftovers_only = true;
    } else {
      return usage();
    }
  }
  if (config_path.empty()) return usage();
  try {
    SupervisorLoop::block_signals();
    spare_from_oom();
    close_range(3, ~0U, 0);
    auto config = read_config(config_path);
    const SupervisorLock lock(config.pid_dir);
    stop_leftovers(config.pid_dir, config.processes);
    const std::string run_file = config.run_file;
    SupervisorLoop(std::move(config)).run(stop_leftovers_only);
    unlink(run_file.c_str());
    say("all is down");
    return 0;
  } catch (const std::exception& e) {
    say(e.what());
    return 1;
  }
}
