#include "lookup/io/document_cache.h"

namespace trunkline::lookup {

size_t DocumentCache::cost(const Document& document) {
  constexpr size_t kOverhead = 500;  // slot, list node, strings and their allocations
  return document.json.capacity() + kOverhead;
}

DocumentCache::Entry DocumentCache::find(const DocKey& key) {
  const std::lock_guard lock(mutex_);
  const auto it = slots_.find(key);
  if (it == slots_.end()) return nullptr;
  uses_.splice(uses_.begin(), uses_, it->second.use);
  return it->second.entry;
}

DocumentCache::Entry DocumentCache::find_token(const std::string& sha256) {
  std::string uuid;
  {
    const std::lock_guard lock(mutex_);
    const auto it = tokens_.find(sha256);
    if (it == tokens_.end()) return nullptr;
    uuid = it->second;
  }
  return find({DocKind::token, uuid});
}

void DocumentCache::insert(Entry entry) {
  erase(entry->key);
  bytes_ += cost(*entry);
  uses_.push_front(entry->key);
  if (!entry->token_hash.empty()) tokens_[entry->token_hash] = entry->key.uuid;
  const DocKey& key = uses_.front();
  slots_[key] = {std::move(entry), uses_.begin()};
}

void DocumentCache::erase(const DocKey& key) {
  const auto it = slots_.find(key);
  if (it == slots_.end()) return;
  const Document& document = *it->second.entry;
  bytes_ -= cost(document);
  const auto token = tokens_.find(document.token_hash);
  if (token != tokens_.end() && token->second == document.key.uuid) tokens_.erase(token);
  uses_.erase(it->second.use);
  slots_.erase(it);
}

void DocumentCache::shrink() {
  while (bytes_ > limit_bytes_ && !uses_.empty()) {
    const DocKey oldest = uses_.back();
    erase(oldest);
  }
}

void DocumentCache::put(const std::vector<Document>& documents,
                        const std::vector<DocKey>& removed) {
  const std::lock_guard lock(mutex_);
  const auto outdate = [&](const DocKey& key) {
    const auto it = loading_.find(key);
    if (it != loading_.end()) it->second.stale = true;
  };
  for (const DocKey& key : removed) {
    outdate(key);
    erase(key);
  }
  for (const Document& document : documents) {
    if (document.key.kind == DocKind::route) continue;  // nobody asks for one
    outdate(document.key);
    insert(std::make_shared<const Document>(document));
  }
  shrink();
}

void DocumentCache::clear() {
  const std::lock_guard lock(mutex_);
  slots_.clear();
  uses_.clear();
  tokens_.clear();
  bytes_ = 0;
  for (auto& [key, loading] : loading_) loading.stale = true;
}

size_t DocumentCache::size() const {
  const std::lock_guard lock(mutex_);
  return slots_.size();
}

DocumentCache::Load::Load(DocumentCache& cache, DocKey key)
    : cache_(cache), key_(std::move(key)) {
  const std::lock_guard lock(cache_.mutex_);
  ++cache_.loading_[key_].readers;
}

DocumentCache::Load::~Load() {
  const std::lock_guard lock(cache_.mutex_);
  const auto it = cache_.loading_.find(key_);
  if (--it->second.readers == 0) cache_.loading_.erase(it);
}

void DocumentCache::Load::finish(const Document& document) {
  const std::lock_guard lock(cache_.mutex_);
  if (cache_.loading_[key_].stale) return;
  cache_.insert(std::make_shared<const Document>(document));
  cache_.shrink();
}

}  // namespace trunkline::lookup
