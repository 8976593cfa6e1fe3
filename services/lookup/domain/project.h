// The projection: an event changes a view, a view gives documents. Total and deterministic: the
// same events give the same documents, byte for byte, whether they come one at a time or in a
// rebuild. Pure; not thread-safe on the same view.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "lookup/domain/documents.h"
#include "lookup/domain/views.h"

namespace trunkline::lookup {

// An event of the log, as far as the projection reads it. The texts live elsewhere.
struct LogEvent {
  int64_t position = 0;
  std::string_view stream;
  int64_t version = 0;
  std::string_view type;
  uint32_t schema_version = 1;
  std::string_view payload;
  TimePoint recorded_at;
};

enum class Aggregate : uint8_t { instance, group, version, host, token, quota };

struct StreamRef {
  Aggregate aggregate = Aggregate::instance;
  std::string_view uuid;
};
// Nothing if `stream` is not "<known aggregate>-<lower-case uuid>".
std::optional<StreamRef> parse_stream(std::string_view stream);
// True of streams whose events are in no document here: another service projects them.
bool is_not_shown(std::string_view stream);

// The key of the view that a stream is folded into: "instance-<uuid>" for a group as well.
std::string view_key(const StreamRef& stream);
// An empty view for such a stream.
View make_view(const StreamRef& stream);
// Version of the last event of this stream that the view holds.
int64_t version_of(const View& view, Aggregate aggregate);

// Applies one event to the view of its stream. An event that the view holds already changes
// nothing. `touched` (may be null) gets the key of every document that may differ now; keys may
// repeat. Returns why it cannot be projected (unknown type, bad payload, wrong shape, a hole before
// it), in which case the view is as it was.
std::optional<std::string> project(View& view, const LogEvent& event, std::vector<DocKey>* touched);

// What documents show that no event says.
struct Rendering {
  // Where the proxies listen. Empty: there are none, and endpoints are the nodes' own addresses.
  std::string endpoint_address;
};
// The document of a view, or nothing if it is not there (any more).
std::optional<Document> render(const View& view, const DocKey& key, const Rendering& rendering);
// The keys of all documents that the view has now.
std::vector<DocKey> document_keys(const View& view);

}  // namespace trunkline::lookup
