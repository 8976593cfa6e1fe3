#include "lookup/io/list_query.h"

#include <algorithm>

#include "base/ids.h"
#include "lookup/domain/fields.h"

namespace trunkline::lookup {
namespace {

constexpr uint32_t kMaxRows = 1000;
constexpr size_t kMaxMarkers = 10'000;

// Statement text with its parameters, numbered as they come.
struct Statement {
  std::string sql;
  std::vector<std::string> parameters;
  std::string parameter(std::string value) {
    parameters.push_back(std::move(value));
    return "$" + std::to_string(parameters.size());
  }
};

struct SortKey {
  std::string expression;  // never null
  std::string type;
};

SortKey sort_expression(const std::string& field, FieldType type) {
  if (field == "created_at") return {"created_us", "bigint"};
  if (field == "uuid") return {"uuid", "uuid"};
  if (type == FieldType::number) return {"coalesce((doc->>'" + field + "')::bigint, -1)", "bigint"};
  return {"(coalesce(doc->>'" + field + "', '') COLLATE \"C\")", "text"};
}

// References may be asked for in their short form, times in any form of RFC 3339.
std::string canonical_value(FieldType type, const std::string& value) {
  constexpr std::string_view kShort = "/v1/postgres/";
  if (type == FieldType::text && value.starts_with(kShort)) {
    return "/v1/types/postgres/" + value.substr(kShort.size());
  }
  if (type == FieldType::timestamp) {
    const auto time = parse_rfc3339(value);
    return time ? format_rfc3339(*time) : value;
  }
  return value;
}

std::string filter_condition(Statement& statement, const std::string& field, FieldType type,
                             const v1::Filter& filter) {
  std::vector<std::string> any_of;
  for (const std::string& value : filter.any_of()) {
    if (value.find('\0') == std::string::npos) any_of.push_back(canonical_value(type, value));
  }
  if (field == "uuid") {
    std::erase_if(any_of, [](const std::string& value) { return !is_uuid(value); });
    return "uuid = ANY (" + statement.parameter(array_literal(any_of)) + "::uuid[])";
  }
  const std::string values = statement.parameter(array_literal(any_of)) + "::text[]";
  if (field == "project_id") return "project_id = ANY (" + values + ")";
  if (type == FieldType::list) {
    return "EXISTS (SELECT FROM json_array_elements_text(doc->'" + field + "') e WHERE e = ANY (" +
           values + "))";
  }
  return "doc->>'" + field + "' = ANY (" + values + ")";
}

std::string visible(Statement& statement, DocKind kind, const v1::Scope& scope,
                    const std::string& instance_id) {
  std::string where = "kind = '" + std::string(to_string(kind)) + "'";
  const bool of_project =
      kind == DocKind::instance || kind == DocKind::user || kind == DocKind::database;
  if (of_project && !scope.all_projects()) {
    where += " AND project_id = " + statement.parameter(scope.project_id());
  }
  if (kind == DocKind::quota && !scope.all_projects()) {
    where += " AND project_id IN (" + statement.parameter(scope.project_id()) + ", '" +
             std::string(kDefaultQuotaProject) + "')";
  }
  if (!instance_id.empty()) {
    where += " AND parent = " + statement.parameter(instance_id) + "::uuid";
  }
  return where;
}

pqxx::result execute(ReadModel& model, const Statement& statement) {
  pqxx::result rows;
  model.with_connection([&](pqxx::connection& connection) {
    pqxx::nontransaction session(connection);
    rows = session.exec_params(statement.sql,
                               pqxx::prepare::make_dynamic_params(statement.parameters));
  });
  return rows;
}

}  // namespace

void MarkerMemory::put(const std::string& key, std::string sort_value) {
  const std::lock_guard lock(mutex_);
  const auto [it, fresh] = values_.insert_or_assign(key, std::move(sort_value));
  if (fresh) order_.push_back(key);
  if (order_.size() <= kMaxMarkers) return;
  values_.erase(order_.front());
  order_.pop_front();
}

std::optional<std::string> MarkerMemory::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto it = values_.find(key);
  return it == values_.end() ? std::nullopt : std::optional(it->second);
}

DocumentList list_documents(ReadModel& model, MarkerMemory& markers, DocKind kind,
                            const v1::Scope& scope, const v1::ListResources& list,
                            size_t limit_bytes) {
  DocumentList answer;
  const auto bad = [&](std::string why) {
    answer.bad_field = std::move(why);
    return answer;
  };
  const std::string schema = kSchema;
  const std::string sort_field = list.sort_key().empty() ? "created_at" : list.sort_key();
  const auto sort_type = field_type(kind, sort_field);
  if (!sort_type || !is_sortable(*sort_type)) {
    return bad("sort_key: there is no sortable field \"" + sort_field + "\"");
  }
  const SortKey sort = sort_expression(sort_field, *sort_type);

  Statement statement;
  std::string where = visible(statement, kind, scope, list.instance_id());
  for (const v1::Filter& filter : list.filters()) {
    const auto type = field_type(kind, filter.field());
    if (!type || !is_filterable(*type)) {
      return bad("filter: there is no field \"" + filter.field() + "\" to filter by");
    }
    where += " AND " + filter_condition(statement, filter.field(), *type, filter);
  }
  const std::string marker_prefix = std::string(to_string(kind)) + "/" + list.instance_id() + "/" +
                                    scope.project_id() + "/" + sort_field + "/";
  if (!list.marker().empty()) {
    if (!is_uuid(list.marker())) return bad("page_marker: \"" + list.marker() + "\" is no UUID");
    auto value = markers.find(marker_prefix + list.marker());
    if (!value) {
      Statement find;
      const std::string row = visible(find, kind, scope, list.instance_id());
      find.sql = "SELECT " + sort.expression + "::text FROM " + schema + ".documents WHERE " + row +
                 " AND uuid = " + find.parameter(list.marker());
      const auto rows = execute(model, find);
      if (rows.empty()) return bad("page_marker: there is no row " + list.marker());
      value = rows[0][0].c_str();
    }
    where += " AND (" + sort.expression + ", uuid) " + (list.descending() ? "<" : ">") + " (" +
             statement.parameter(*value) + "::" + sort.type + ", " +
             statement.parameter(list.marker()) + "::uuid)";
  }
  const uint32_t limit = std::min(list.limit() == 0 ? kMaxRows : list.limit(), kMaxRows);
  const std::string direction = list.descending() ? " DESC" : "";
  statement.sql = std::string("SELECT ") + kDocumentColumns + ", " + sort.expression +
                  "::text AS sort_value FROM " + schema + ".documents WHERE " + where +
                  " ORDER BY " + sort.expression + direction + ", uuid" + direction + " LIMIT " +
                  std::to_string(limit + 1);
  const auto rows = execute(model, statement);
  size_t bytes = 0;
  std::string last_value;
  for (const auto& row : rows) {
    const bool full = answer.documents.size() == limit || bytes > limit_bytes;
    if (full) {
      answer.next_marker = answer.documents.back().key.uuid;
      markers.put(marker_prefix + answer.next_marker, last_value);
      break;
    }
    answer.documents.push_back(document_of(row));
    bytes += answer.documents.back().json.size();
    last_value = row[7].c_str();
  }
  return answer;
}

}  // namespace trunkline::lookup
