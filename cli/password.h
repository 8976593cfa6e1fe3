// Reading a password: from a file, a terminal (without echo) or standard input; never from the
// command line, where every process of the machine could read it.
#pragma once

#include <string>

#include "cli/session.h"

namespace trunkline::cli {

// The first line of `file` ("-": of standard input); if `file` is empty, asks twice on a terminal
// or takes the first line of standard input. Throws Failure(usage).
std::string read_password(Session& session, const std::string& file);

}  // namespace trunkline::cli
