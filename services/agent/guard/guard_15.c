// A library that PostgreSQL 15 loads at its start, for what no setting of it can be made to do:
//
// - The warning that the wait of a commit for its standbys was cancelled reaches the client whatever
//   client_min_messages is, so that the proxy does not pass a success on (docs/adr/0072-carry.md).
// - `trunkline.own_settings` names the session's settings with a prefix of their own, one a line.
//   PostgreSQL lists them nowhere, and a session cannot be made again elsewhere without them.
// - A process that wants more than `trunkline.process_memory_mb` of its own, or to map more than
//   `trunkline.process_mapped_mb`, gets the error "out of memory" (53200) and lives on. Beyond the
//   node's limit the kernel would kill it, and with it every session of the server.
//
// The declarations are PostgreSQL's own, as far as they are needed, so that its server headers (and
// the compilers that their package wants) are not. Within a major version they do not change, and
// the server refuses a library whose magic block is of another one.
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#define EXPORTED __attribute__((visibility("default")))

typedef struct {
  int length;
  int version;
  int most_arguments;
  int most_keys;
  int name_length;
  int float8_by_value;
  char build[32];
} Magic;

EXPORTED const Magic* Pg_magic_func(void);
EXPORTED void _PG_init(void);

const Magic* Pg_magic_func(void) {
  static const Magic magic = {sizeof(Magic), 1500, 100, 32, 64, 1, "PostgreSQL"};
  return &magic;
}

// utils/elog.h: how ErrorData begins.
typedef struct {
  int level;
  bool to_server;
  bool to_client;
  bool hide_statement;
  bool hide_context;
  const char* file;
  int line;
  const char* function;
} Report;
enum { kWarning = 19 };
typedef void (*LogHook)(Report* report);
extern LogHook emit_log_hook;

// utils/guc.h and guc_tables.h: how config_generic begins.
typedef struct {
  const char* name;
  int context;
  int group;
  const char* short_description;
  const char* long_description;
  int flags;
} Setting;
enum { kInternal = 0, kPostmaster = 1 };
enum { kNotInSample = 0x20, kDisallowInFile = 0x40, kPlaceholder = 0x80 };
extern Setting** get_guc_variables(void);
extern int GetNumConfigOptions(void);
extern void DefineCustomStringVariable(const char* name, const char* short_description,
                                       const char* long_description, char** value,
                                       const char* first, int context, int flags, void* check,
                                       void* assign, const char* (*show)(void));
extern void DefineCustomIntVariable(const char* name, const char* short_description,
                                    const char* long_description, int* value, int first,
                                    int least, int most, int context, int flags, void* check,
                                    void* assign, void* show);
extern void* palloc(size_t size);

// miscadmin.h.
enum { kStartupProcess = 0 };
extern bool IsPostmasterEnvironment;
extern int MyAuxProcType;

static LogHook next_hook = NULL;
static char* unused = NULL;
static int process_memory_mb = 0;
static int process_mapped_mb = 0;

static void set_limit(int resource, rlim_t bytes) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) != 0) return;
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  setrlimit(resource, &limit);
}

// Of the postmaster, from which all others have them.
static void limit_memory(void) {
  const int most = 1 << 24;
  DefineCustomIntVariable("trunkline.process_memory_mb",
                          "MB that a process may have of its own; 0: no limit.", NULL,
                          &process_memory_mb, 0, 0, most, kPostmaster, kNotInSample, NULL, NULL,
                          NULL);
  DefineCustomIntVariable("trunkline.process_mapped_mb",
                          "MB that a process may map; 0: no limit.", NULL, &process_mapped_mb, 0, 0,
                          most, kPostmaster, kNotInSample, NULL, NULL, NULL);
  if (!IsPostmasterEnvironment) return;
  if (process_memory_mb > 0) set_limit(RLIMIT_DATA, (rlim_t)process_memory_mb << 20);
  if (process_mapped_mb > 0) set_limit(RLIMIT_AS, (rlim_t)process_mapped_mb << 20);
}

// A record that one could write must be one that can be replayed, and that takes more memory: or
// the server would never start again. It says something before it reads the first one.
static void free_startup_process(void) {
  static bool is_free = false;
  if (is_free || MyAuxProcType != kStartupProcess) return;
  is_free = true;
  set_limit(RLIMIT_DATA, RLIM_INFINITY);
  set_limit(RLIMIT_AS, RLIM_INFINITY);
}

static void hear_report(Report* report) {
  free_startup_process();
  if (report->level == kWarning && report->function != NULL &&
      strcmp(report->function, "SyncRepWaitForLSN") == 0) {
    report->to_client = true;
  }
  if (next_hook != NULL) next_hook(report);
}

// In the memory of whoever asked.
static const char* show_own_settings(void) {
  Setting** const settings = get_guc_variables();
  const int count = GetNumConfigOptions();
  size_t size = 1;
  for (int i = 0; i < count; ++i) {
    if ((settings[i]->flags & kPlaceholder) != 0) size += strlen(settings[i]->name) + 1;
  }
  char* const out = palloc(size);
  char* at = out;
  for (int i = 0; i < count; ++i) {
    if ((settings[i]->flags & kPlaceholder) == 0) continue;
    const size_t length = strlen(settings[i]->name);
    memcpy(at, settings[i]->name, length);
    at[length] = '\n';
    at += length + 1;
  }
  *at = '\0';
  return out;
}

void _PG_init(void) {
  DefineCustomStringVariable("trunkline.own_settings",
                             "The session's settings with a prefix of their own.", NULL, &unused,
                             "", kInternal, kNotInSample | kDisallowInFile, NULL, NULL,
                             show_own_settings);
  limit_memory();
  next_hook = emit_log_hook;
  emit_log_hook = hear_report;
}
