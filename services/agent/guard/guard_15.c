// A library that PostgreSQL 15 loads at its start, for what no setting of it can be made to do:
//
// - The warning that the wait of a commit for its standbys was cancelled reaches the client whatever
//   client_min_messages is, so that the proxy does not pass a success on (docs/adr/0072-carry.md).
// - `trunkline.own_settings` names the session's settings with a prefix of their own, one a line.
//   PostgreSQL lists them nowhere, and a session cannot be made again elsewhere without them.
//
// The declarations are PostgreSQL's own, as far as they are needed, so that its server headers (and
// the compilers that their package wants) are not. Within a major version they do not change, and
// the server refuses a library whose magic block is of another one.
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

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
enum { kInternal = 0 };
enum { kNotInSample = 0x20, kDisallowInFile = 0x40, kPlaceholder = 0x80 };
extern Setting** get_guc_variables(void);
extern int GetNumConfigOptions(void);
extern void DefineCustomStringVariable(const char* name, const char* short_description,
                                       const char* long_description, char** value,
                                       const char* first, int context, int flags, void* check,
                                       void* assign, const char* (*show)(void));
extern void* palloc(size_t size);

static LogHook next_hook = NULL;
static char* unused = NULL;

static void tell_of_cancelled_waits(Report* report) {
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
  next_hook = emit_log_hook;
  emit_log_hook = tell_of_cancelled_waits;
}
