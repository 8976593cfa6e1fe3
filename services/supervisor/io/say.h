// One line with the time on standard error: the supervisor's log.
#pragma once

#include <string>

namespace trunkline::supervisor {

void say(const std::string& text);

}  // namespace trunkline::supervisor
