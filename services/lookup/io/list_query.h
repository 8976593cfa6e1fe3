// A list of documents: filter, order and page as SQL. Keyset paging: a page goes on behind the sort
// value and uuid of the last row of the page before, so rows that come or go in between neither
// repeat nor hide another.
#pragma once

#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lookup/domain/documents.h"
#include "lookup/io/read_model.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::lookup {

// The sort values of the markers that were given out last, so that a page goes on also when its
// marker's row was deleted or has moved. Bounded; thread-safe.
class MarkerMemory {
 public:
  void put(const std::string& key, std::string sort_value);
  std::optional<std::string> find(const std::string& key);

 private:
  std::mutex mutex_;
  std::list<std::string> order_;
  std::unordered_map<std::string, std::string> values_;
};

struct DocumentList {
  std::string bad_field;  // not empty: what is wrong with a filter, sort key or marker
  std::vector<Document> documents;
  std::string next_marker;
};

// Answers at most about `limit_bytes` of JSON (at least one document); a page that ends there has a
// marker too. Throws what ReadModel throws.
DocumentList list_documents(ReadModel& model, MarkerMemory& markers, DocKind kind,
                            const v1::Scope& scope, const v1::ListResources& list,
                            size_t limit_bytes);

}  // namespace trunkline::lookup
