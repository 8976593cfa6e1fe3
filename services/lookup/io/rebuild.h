// Makes a whole read model anew from the log, beside the one that answers, and puts it in its
// place: fold everything in memory, COPY it into the schema read_model_next, fold and write what
// has come since, rename. Nothing in the log is held up: no transaction of it is long.
// One thread. Throws LogUnavailable, ReadModelUnavailable and their kin; then start a new one.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "lookup/io/fold.h"
#include "lookup/io/read_model.h"

namespace trunkline::lookup {

class Rebuild {
 public:
  Rebuild(std::string log_dsn, std::string read_model_dsn, Rendering rendering);

  // Folds the log's events up to a settled position.
  void fold_to(int64_t up_to);
  // Writes everything folded so far, once.
  void write();
  // Writes what fold_to() has changed since.
  void write_rest();
  // Takes the place of the read model.
  void swap();

  const Checkpoint& reached() const { return reached_; }
  int64_t events() const { return events_; }
  int64_t documents() const { return documents_; }
  const Blocked& blocked() const { return blocked_; }

 private:
  void take(eventlog::RecordedEvent& event);
  View& view_of(const StreamRef& stream);

  std::string log_dsn_;
  std::string read_model_dsn_;
  const Rendering rendering_;
  std::unordered_map<std::string, View> views_;
  Blocked blocked_;
  std::vector<Poison> poison_;
  std::unordered_map<DocKey, std::string> touched_;  // → key of the view; since write()
  std::vector<DocKey> touched_now_;
  Checkpoint reached_;
  std::string last_hash_;  // raw, of the event at reached_
  Checkpoint written_;
  int64_t events_ = 0;
  int64_t documents_ = 0;
  bool all_written_ = false;
};

}  // namespace trunkline::lookup
