#include <sys/ioctl.h>
#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "cli/commands.h"

namespace {

size_t terminal_width() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const trunkline::cli::Terminal terminal{.in = std::cin,
                                          .out = std::cout,
                                          .err = std::cerr,
                                          .in_is_terminal = isatty(STDIN_FILENO) != 0,
                                          .width = terminal_width()};
  const int code =
      trunkline::cli::run(std::vector<std::string>(argv + 1, argv + argc), terminal, environment);
  std::cout.flush();
  return code;
}
