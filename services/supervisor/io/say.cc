#include "supervisor/io/say.h"

#include <chrono>
#include <cstdio>

#include "base/clock.h"

namespace trunkline::supervisor {

void say(const std::string& text) {
  const auto now =
      std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  std::fprintf(stderr, "%s %s\n", format_rfc3339(now).c_str(), text.c_str());
}

}  // namespace trunkline::supervisor
