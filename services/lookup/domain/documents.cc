#include "lookup/domain/documents.h"

namespace trunkline::lookup {

std::string_view to_string(DocKind kind) {
  switch (kind) {
    case DocKind::instance: return "instance";
    case DocKind::user: return "user";
    case DocKind::database: return "database";
    case DocKind::version: return "version";
    case DocKind::host: return "host";
    case DocKind::token: return "token";
    case DocKind::route: return "route";
    case DocKind::quota: return "quota";
  }
  return "";
}

std::optional<DocKind> doc_kind_from(std::string_view text) {
  for (DocKind kind : kDocKinds) {
    if (to_string(kind) == text) return kind;
  }
  return std::nullopt;
}

}  // namespace trunkline::lookup
