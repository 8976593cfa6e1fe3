#include "runtime/child_program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace trunkline::runtime {

void become(const ChildProgram& child) {
  ::dup2(child.input, 0);
  ::dup2(child.output, 1);
  ::dup2(child.output, 2);
  ::syscall(SYS_close_range, 3u, ~0u, 0u);
  if (child.ordinary) {
    const auto score = static_cast<int>(
        ::syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
    ::syscall(SYS_write, score, "0", 1);
  }
  if (child.rights) {
    const auto [uid, gid] = *child.rights;
    if (::syscall(SYS_setgroups, 1, &child.rights->gid) != 0 ||
        ::syscall(SYS_setresgid, gid, gid, gid) != 0 ||
        ::syscall(SYS_setresuid, uid, uid, uid) != 0) {
      ::_exit(126);
    }
  }
  // A change of user would undo this; and a parent that died before it is not noticed by it.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != child.parent) ::_exit(126);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGHUP, SIGINT, SIGTERM}) ::signal(signal, SIG_DFL);
  if (::chdir("/") != 0) ::_exit(126);
  ::execve(child.argv[0], child.argv, child.environment);
  ::_exit(127);
}

}  // namespace trunkline::runtime
