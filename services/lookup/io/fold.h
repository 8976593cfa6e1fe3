// Folding recorded events into views, with what cannot be projected put aside: it blocks its own
// stream from there on, and nothing else.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "eventlog/recorded_event.h"
#include "lookup/domain/project.h"
#include "lookup/io/log_access.h"
#include "lookup/io/read_model.h"

namespace trunkline::lookup {

// Stream → position of the event that blocks it.
using Blocked = std::unordered_map<std::string, int64_t>;

Poison put_aside(const eventlog::RecordedEvent& event, std::string error);
// Applies the event to the view of its stream, or puts it aside.
void fold(View& view, const eventlog::RecordedEvent& event, Blocked& blocked,
          std::vector<Poison>& poison, std::vector<DocKey>* touched);

// The views that were needed last, bounded; the others are folded from the log again when an event
// needs them. Not thread-safe.
class ViewStore {
 public:
  explicit ViewStore(size_t limit) : limit_(limit) {}

  // The view of a stream as of `up_to`. The reference is good until forget() or shrink().
  // Throws LogUnavailable, LogCorrupt.
  View& get(const StreamRef& stream, int64_t up_to, LogAccess& log, Blocked& blocked,
            std::vector<Poison>& poison);
  // A view without events, of a stream whose first event comes now.
  View& begin(const StreamRef& stream);
  // The view of a key that get() or begin() was called for since the last shrink().
  const View& at(const std::string& key) const { return slots_.at(key).view; }
  void forget(const std::string& key);
  void clear();
  void shrink();

 private:
  struct Slot {
    View view;
    std::list<std::string>::iterator use;
  };
  const size_t limit_;
  std::list<std::string> uses_;  // newest first
  std::unordered_map<std::string, Slot> slots_;
};

}  // namespace trunkline::lookup
