// HIDDEN KEPT COMMAND: runs a shell's command as a server of a keeper's runs.
#include <unistd.h>

#include "agent/keeper/sandbox.h"

int main(int argc, char** argv) {
  if (argc != 4 || !trunkline::agent::enter_sandbox({argv[1]}, {argv[2]})) return 99;
  execl("/bin/sh", "sh", "-c", argv[3], nullptr);
  return 98;
}
