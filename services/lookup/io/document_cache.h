// The newest documents in memory, bounded: what GET by id is answered from. The projector keeps
// every document that it changes current here; readers put in what they loaded. Thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lookup/domain/documents.h"

namespace trunkline::lookup {

class DocumentCache {
 public:
  explicit DocumentCache(size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  using Entry = std::shared_ptr<const Document>;
  // Null if it is not here (it may still be in the read model).
  Entry find(const DocKey& key);
  Entry find_token(const std::string& sha256);

  // What the projector has committed.
  void put(const std::vector<Document>& documents, const std::vector<DocKey>& removed);
  // Everything goes: the read model was replaced.
  void clear();

  // A load from the read model: begin before reading, finish with what was read. If the projector
  // changed the document (or anything was cleared) in between, what was read is not kept.
  class Load {
   public:
    Load(DocumentCache& cache, DocKey key);
    ~Load();
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;
    void finish(const Document& document);

   private:
    DocumentCache& cache_;
    DocKey key_;
  };

  size_t size() const;

 private:
  struct Slot {
    Entry entry;
    std::list<DocKey>::iterator use;
  };
  struct Loading {
    int readers = 0;
    bool stale = false;
  };
  void insert(Entry entry);
  void erase(const DocKey& key);
  void shrink();
  static size_t cost(const Document& document);

  const size_t limit_bytes_;
  mutable std::mutex mutex_;
  size_t bytes_ = 0;
  std::list<DocKey> uses_;  // newest first
  std::unordered_map<DocKey, Slot> slots_;
  std::unordered_map<std::string, std::string> tokens_;  // hash → uuid, of those in slots_
  std::unordered_map<DocKey, Loading> loading_;
};

}  // namespace trunkline::lookup
