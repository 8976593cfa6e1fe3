// What a keeper without root's rights, and the server that it starts, still see of the files of the
// user that they share with everything else: a user and a mount namespace of their own, in which
// directories are hidden but for the node's. From within no process of that user outside can be
// looked into either. Part of the keeper: no threads, no exceptions.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace trunkline::agent {

// Hides the directories `hidden` but for `kept` in them, for this process and its children. False
// if the machine does not let it; what was half done stays so: end the process.
bool enter_sandbox(std::vector<std::string> hidden, const std::vector<std::string>& kept);

// Joins that of a process; true also if it has none of its own.
bool join_sandbox(pid_t pid);

}  // namespace trunkline::agent
