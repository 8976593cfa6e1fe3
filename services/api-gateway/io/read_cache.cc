#include "api-gateway/io/read_cache.h"

#include <algorithm>

namespace trunkline::gateway {
namespace {

// Whose stream tells of changes: a user or database lives in its instance's.
const std::string& stream_uuid(const v1::GetResource& get) {
  return get.instance_id().empty() ? get.uuid() : get.instance_id();
}

}  // namespace

std::string ReadCache::key_of(const v1::Query& query) {
  const v1::GetResource& get = query.get_resource();
  if (!query.has_get_resource() || get.at_position() != 0 || get.at_unix_us() != 0 ||
      get.kind() == v1::KIND_OPERATION) {
    return {};
  }
  const std::string scope = query.scope().all_projects() ? "*" : query.scope().project_id();
  return std::to_string(get.kind()) + "/" + scope + "/" + get.instance_id() + "/" + get.uuid();
}

std::optional<std::string> ReadCache::find(const std::string& key, uint64_t min_position,
                                           Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto found = kept_.find(key);
  if (found == kept_.end()) return std::nullopt;
  if (found->second.until <= now || found->second.position < min_position) {
    kept_.erase(found);
    return std::nullopt;
  }
  return found->second.json;
}

void ReadCache::keep(const std::string& key, const v1::Query& query, const v1::QueryAnswer& answer,
                     Clock::time_point now) {
  if (answer.status() != v1::QUERY_STATUS_OK || answer.json_size() != 1) return;
  const std::lock_guard lock(mutex_);
  // An event that came between the question and the answer may be missing from it.
  if (answer.position() < newest_event_) return;
  if (kept_.size() >= kMost) kept_.clear();
  kept_[key] = {answer.json(0), stream_uuid(query.get_resource()), answer.position(), now + kFor};
}

void ReadCache::changed(const std::string& uuid, uint64_t position) {
  const std::lock_guard lock(mutex_);
  newest_event_ = std::max(newest_event_, position);
  std::erase_if(kept_, [&](const auto& entry) { return entry.second.uuid == uuid; });
}

}  // namespace trunkline::gateway
