// The fields of each kind of document that a list may be filtered and sorted by. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "lookup/domain/documents.h"

namespace trunkline::lookup {

enum class FieldType : uint8_t {
  text,       // and references; compared as text, sorted by code point
  number,     // sorted as a number
  boolean,
  timestamp,
  list,       // of texts: a filter matches any element; not sortable
  object,     // neither
};

// Nothing if documents of this kind have no such field.
std::optional<FieldType> field_type(DocKind kind, std::string_view field);
bool is_filterable(FieldType type);
bool is_sortable(FieldType type);

}  // namespace trunkline::lookup
