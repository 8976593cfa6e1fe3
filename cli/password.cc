#include "cli/password.h"

#include <termios.h>
#include <unistd.h>

namespace trunkline::cli {
namespace {

// Puts the terminal's echo back also when an exception passes.
class EchoOff {
 public:
  EchoOff() {
    if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
  }
  ~EchoOff() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  termios before_{};
  bool changed_ = false;
};

std::string read_line(Session& session) {
  std::string line;
  if (!std::getline(session.terminal.in, line)) {
    throw Failure(ExitCode::usage, "no password on standard input (see --password-file)");
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

std::string ask(Session& session, const char* prompt) {
  const EchoOff echo_off;
  session.terminal.err << prompt << std::flush;
  std::string line = read_line(session);
  session.terminal.err << std::endl;
  return line;
}

}  // namespace

std::string read_password(Session& session, const std::string& file) {
  std::string password;
  if (!file.empty() && file != "-") {
    password = read_first_line(file, "password file");
  } else if (file.empty() && session.terminal.in_is_terminal) {
    password = ask(session, "Password: ");
    if (ask(session, "Again: ") != password) {
      throw Failure(ExitCode::usage, "the two passwords differ");
    }
  } else {
    password = read_line(session);
  }
  if (password.empty()) throw Failure(ExitCode::usage, "the password is empty");
  return password;
}

}  // namespace trunkline::cli
