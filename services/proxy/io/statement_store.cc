#include "proxy/io/statement_store.h"

#include <mutex>
#include <unordered_map>

namespace trunkline::proxy {

struct StatementStore::Core {
  explicit Core(size_t most) : most_bytes(most) {}
  const size_t most_bytes;
  std::mutex mutex;
  std::unordered_map<std::string, size_t> uses;  // by text
  size_t bytes = 0;

  void release(const std::string* text) {
    const std::lock_guard lock(mutex);
    bytes -= kOverhead;
    const auto found = uses.find(*text);
    if (--found->second > 0) return;
    bytes -= found->first.size();
    uses.erase(found);
  }
};

StatementStore::StatementStore(size_t most_bytes)
    : core_(std::make_shared<Core>(most_bytes)) {}

StatementStore::~StatementStore() = default;

StatementTexts::Text StatementStore::keep(std::string_view text) {
  std::string key(text);
  const std::lock_guard lock(core_->mutex);
  const auto found = core_->uses.find(key);
  const size_t more = kOverhead + (found == core_->uses.end() ? key.size() : 0);
  if (core_->bytes + more > core_->most_bytes) return nullptr;
  core_->bytes += more;
  auto& kept = *(found == core_->uses.end() ? core_->uses.emplace(std::move(key), 0).first : found);
  ++kept.second;
  return {&kept.first, [core = core_](const std::string* own) { core->release(own); }};
}

size_t StatementStore::bytes() const {
  const std::lock_guard lock(core_->mutex);
  return core_->bytes;
}

}  // namespace trunkline::proxy
