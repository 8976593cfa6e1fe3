#include "lookup/io/fold.h"

namespace trunkline::lookup {

using eventlog::RecordedEvent;

Poison put_aside(const RecordedEvent& event, std::string error) {
  return {event.position, event.stream, event.version, event.type, std::move(error), 0};
}

void fold(View& view, const RecordedEvent& event, Blocked& blocked, std::vector<Poison>& poison,
          std::vector<DocKey>* touched) {
  if (!blocked.empty()) {
    const auto it = blocked.find(event.stream);
    if (it != blocked.end() && event.position >= it->second) {
      if (event.position > it->second) {
        poison.push_back(
            put_aside(event, "waits for the event at position " + std::to_string(it->second)));
      }
      return;
    }
  }
  auto error = project(view, as_log_event(event), touched);
  if (!error) return;
  blocked.emplace(event.stream, event.position);
  poison.push_back(put_aside(event, std::move(*error)));
}

View& ViewStore::begin(const StreamRef& stream) {
  const std::string key = view_key(stream);
  const auto [it, fresh] = slots_.try_emplace(key);
  if (fresh) {
    it->second.view = make_view(stream);
    uses_.push_front(key);
  } else {
    uses_.splice(uses_.begin(), uses_, it->second.use);
  }
  it->second.use = uses_.begin();
  return it->second.view;
}

View& ViewStore::get(const StreamRef& stream, int64_t up_to, LogAccess& log, Blocked& blocked,
                     std::vector<Poison>& poison) {
  if (slots_.contains(view_key(stream))) return begin(stream);
  const std::vector<RecordedEvent> events = log.view_events(stream, up_to);
  View view = make_view(stream);
  for (const RecordedEvent& event : events) fold(view, event, blocked, poison, nullptr);
  View& kept = begin(stream);
  kept = std::move(view);
  return kept;
}

void ViewStore::forget(const std::string& key) {
  const auto it = slots_.find(key);
  if (it == slots_.end()) return;
  uses_.erase(it->second.use);
  slots_.erase(it);
}

void ViewStore::clear() {
  slots_.clear();
  uses_.clear();
}

void ViewStore::shrink() {
  while (slots_.size() > limit_) forget(std::string(uses_.back()));
}

}  // namespace trunkline::lookup
