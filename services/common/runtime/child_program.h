// The child's half of a start: from fork to another program.
#pragma once

#include <sys/types.h>

#include <optional>

namespace trunkline::runtime {

struct ChildProgram {
  struct Rights {
    uid_t uid = 0;
    gid_t gid = 0;
  };
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  std::optional<Rights> rights;  // that it gets instead of its parent's
  int input = -1;
  int output = -1;  // standard output and error
  pid_t parent = 0;
  bool ordinary = false;  // where memory is short the kernel does not spare it as its parent
};

// For a child of a process with threads: nothing but raw system calls. It has no other descriptors,
// the default signals, "/" as its directory, and is killed when the thread that made it ends. Exit
// code 126: the rights could not be taken, or the parent is gone; 127: there is no such program.
[[noreturn]] void become(const ChildProgram& child);

}  // namespace trunkline::runtime
