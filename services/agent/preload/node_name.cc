// Loaded (LD_PRELOAD) into PostgreSQL's programs of a node whose user has no entry in the
// password database: gives that one user the name that pg_ident.conf has for it (io/node_users.h).
// Everybody else is asked for as usual.
#include <dlfcn.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

namespace {

char own_name[40];
char nothing[] = "";
char locked[] = "*";
char home[] = "/nonexistent";
char shell[] = "/usr/sbin/nologin";

passwd entry_of(uid_t uid, char* name) {
  passwd out{};
  out.pw_name = name;
  out.pw_passwd = locked;
  out.pw_uid = uid;
  out.pw_gid = getegid();
  out.pw_gecos = nothing;
  out.pw_dir = home;
  out.pw_shell = shell;
  return out;
}

}  // namespace

extern "C" passwd* getpwuid(uid_t uid) noexcept(false) {
  using Function = passwd* (*)(uid_t);
  static passwd own;
  if (uid == geteuid()) {
    snprintf(own_name, sizeof own_name, "trunkline-node-%u", uid);
    own = entry_of(uid, own_name);
    return &own;
  }
  const auto usual = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getpwuid"));
  return usual == nullptr ? nullptr : usual(uid);
}

extern "C" int getpwuid_r(uid_t uid, passwd* out, char* buffer, size_t size, passwd** result) {
  using Function = int (*)(uid_t, passwd*, char*, size_t, passwd**);
  if (uid == geteuid() && size >= sizeof own_name) {
    snprintf(buffer, size, "trunkline-node-%u", uid);
    *out = entry_of(uid, buffer);
    *result = out;
    return 0;
  }
  const auto usual = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getpwuid_r"));
  *result = nullptr;
  return usual == nullptr ? 0 : usual(uid, out, buffer, size, result);
}
