// Asks a server, over its Unix socket, whether it takes sessions: as a client does before it says
// who it is, so no role, slot or lock is needed. Never blocks. For one thread.
#pragma once

#include <string>

#include "agent/io/file_ops.h"

namespace trunkline::agent {

class SessionProbe {
 public:
  enum class Ask { asked, refused, not_there };
  // Gives up what was asked before. `refused`: nobody takes connections, which is no answer either.
  // `not_there`: there is no socket to ask at.
  Ask ask(const std::string& socket_path);
  bool is_waiting() const { return fd_.valid(); }
  // Whether it was answered by now, in whatever way; then it waits no more.
  bool answered();

 private:
  Fd fd_;
};

}  // namespace trunkline::agent
