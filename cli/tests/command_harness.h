// Runs one command line inside the test.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/commands.h"

#include <sstream>

namespace trunkline::cli {

struct Ran {
  int code = -1;
  std::string out;
  std::string err;
};

inline Ran run_command(const std::vector<std::string>& arguments,
                       const std::map<std::string, std::string>& environment,
                       const std::string& input = {}) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  const Terminal terminal{.in = in, .out = out, .err = err};
  const int code = run(arguments, terminal, [&](const std::string& name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
  return {code, out.str(), err.str()};
}

}  // namespace trunkline::cli
