#include "lookup/io/read_model.h"

#include <algorithm>

#include "base/digest.h"

namespace trunkline::lookup {
namespace {

constexpr char kTryToKeep[] = "SELECT pg_try_advisory_lock(5461001)";

const std::string& parent_of(const DocKey& key) {
  static const std::string none = kNoParent;
  return key.parent.empty() ? none : key.parent;
}

[[noreturn]] void translate(const pqxx::sql_error& error) {
  const std::string_view state = error.sqlstate();
  const std::string_view kind = state.substr(0, 2);
  if (kind == "22" || kind == "23") throw ReadModelRefused(error.what());
  // Also while the schema is swapped: names are looked up before locks are taken.
  constexpr std::string_view kUndefinedTable = "42P01", kUndefinedColumn = "42703";
  if (state == kUndefinedTable || state == kUndefinedColumn || kind == "3F" || kind == "XX") {
    throw ReadModelDamaged(error.what());
  }
  throw ReadModelUnavailable(error.what());
}

std::string in_schema(std::string sql, const std::string& schema) {
  for (size_t at = sql.find("$."); at != std::string::npos; at = sql.find("$.", at)) {
    sql.replace(at, 1, schema);
  }
  return sql;
}

void prepare(pqxx::connection& connection, const std::string& schema) {
  const auto statement = [&](const char* name, const char* sql) {
    connection.prepare(name, in_schema(sql, schema));
  };
  statement("upsert",
            "INSERT INTO $.documents (kind, uuid, parent, project_id, created_us, token_hash, doc) "
            "SELECT k, u, p, j, c, nullif(h, ''), d FROM unnest($1::text[], $2::uuid[], "
            "$3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::json[]) "
            "AS t(k, u, p, j, c, h, d) ON CONFLICT (kind, uuid, parent) DO UPDATE SET "
            "project_id = excluded.project_id, created_us = excluded.created_us, "
            "token_hash = excluded.token_hash, doc = excluded.doc");
  statement("remove",
            "DELETE FROM $.documents d USING unnest($1::text[], $2::uuid[], $3::uuid[]) "
            "AS t(k, u, p) WHERE d.kind = t.k AND d.uuid = t.u AND d.parent = t.p");
  statement("advance",
            "UPDATE $.checkpoint SET position = $3, hash = $4 "
            "WHERE position = $1 AND hash = $2 RETURNING 1");
  statement("put_aside",
            "INSERT INTO $.poison (position, stream, version, type, error, retried) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (position) DO NOTHING");
  statement("load",
            "SELECT kind, uuid, parent, project_id, created_us, token_hash, doc "
            "FROM $.documents WHERE kind = $1 AND uuid = $2 AND parent = $3");
  statement("load_routes",
            "SELECT kind, uuid, parent, project_id, created_us, token_hash, doc "
            "FROM $.documents WHERE kind = 'route' AND uuid > $1 ORDER BY uuid LIMIT $2");
  statement("load_token",
            "SELECT kind, uuid, parent, project_id, created_us, token_hash, doc "
            "FROM $.documents WHERE token_hash = $1 ORDER BY created_us, uuid LIMIT 1");
}

// Text columns cannot hold NUL, and an error message may quote anything.
std::string without_nul(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

void put_upserts(pqxx::transaction_base& session, const std::vector<Document>& documents) {
  if (documents.empty()) return;
  std::vector<std::string> columns[7];
  for (const Document& document : documents) {
    columns[0].emplace_back(to_string(document.key.kind));
    columns[1].push_back(document.key.uuid);
    columns[2].push_back(parent_of(document.key));
    columns[3].push_back(document.project_id);
    columns[4].push_back(std::to_string(to_unix_us(document.created_at)));
    columns[5].push_back(document.token_hash);
    columns[6].push_back(document.json);
  }
  session.exec_prepared("upsert", array_literal(columns[0]), array_literal(columns[1]),
                        array_literal(columns[2]), array_literal(columns[3]),
                        array_literal(columns[4]), array_literal(columns[5]),
                        array_literal(columns[6]));
}

void put_removals(pqxx::transaction_base& session, const std::vector<DocKey>& keys) {
  if (keys.empty()) return;
  std::vector<std::string> columns[3];
  for (const DocKey& key : keys) {
    columns[0].emplace_back(to_string(key.kind));
    columns[1].push_back(key.uuid);
    columns[2].push_back(parent_of(key));
  }
  session.exec_prepared("remove", array_literal(columns[0]), array_literal(columns[1]),
                        array_literal(columns[2]));
}

}  // namespace

Document document_of(const pqxx::row& row) {
  Document document;
  document.key.kind = doc_kind_from(row[0].c_str()).value_or(DocKind::instance);
  document.key.uuid = row[1].c_str();
  document.key.parent = row[2].c_str();
  if (document.key.parent == kNoParent) document.key.parent.clear();
  document.project_id = row[3].c_str();
  document.created_at = from_unix_us(row[4].as<int64_t>());
  document.token_hash = row[5].c_str();
  document.json = row[6].c_str();
  return document;
}

std::string array_literal(const std::vector<std::string>& items) {
  std::string out = "{";
  for (const std::string& item : items) {
    if (out.size() > 1) out += ',';
    out += '"';
    for (char c : item) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out += '}';
}

ReadModel::ReadModel(std::string dsn, std::string schema, Use use,
                     std::chrono::milliseconds longest_statement)
    : dsn_(std::move(dsn)),
      schema_(std::move(schema)),
      use_(use),
      longest_statement_(longest_statement) {}
ReadModel::~ReadModel() = default;

void ReadModel::with_connection(const std::function<void(pqxx::connection&)>& work) {
  try {
    if (!connection_) {
      auto fresh = std::make_unique<pqxx::connection>(dsn_);
      pqxx::nontransaction session(*fresh);
      // What a crash of PostgreSQL takes of the newest documents is folded again from the log.
      session.exec0("SET synchronous_commit = off");
      session.exec0("SET statement_timeout = " + std::to_string(longest_statement_.count()));
      session.exec0("SET trunkline.projector = 'on'");
      session.exec0("SET client_min_messages = warning");
      // Two that take each other's changes for damage would rebuild for ever. Also the session of
      // a process that was killed must have ended before its read model is gone on with.
      if (use_ == Use::keep && !session.exec1(kTryToKeep)[0].as<bool>()) {
        throw ReadModelUnavailable("another lookup keeps the read model");
      }
      session.commit();
      connection_ = std::move(fresh);
      prepare(*connection_, schema_);
    }
    work(*connection_);
  } catch (const pqxx::sql_error& error) {
    connection_.reset();
    translate(error);
  } catch (const pqxx::failure& error) {
    connection_.reset();
    throw ReadModelUnavailable(error.what());
  } catch (...) {
    connection_.reset();
    throw;
  }
}

std::optional<Checkpoint> ReadModel::checkpoint(const std::string& format) {
  std::optional<Checkpoint> found;
  try {
    with_connection([&](pqxx::connection& connection) {
      pqxx::nontransaction session(connection);
      const auto rows = session.exec(in_schema(
          "SELECT position, encode(hash, 'hex'), format::text = " + session.quote(format) +
              ", (SELECT count(*) FROM (SELECT FROM $.documents LIMIT 1) d) + "
              "(SELECT count(*) FROM (SELECT FROM $.poison LIMIT 1) p) FROM $.checkpoint",
          schema_));
      if (rows.empty() || !rows[0][2].as<bool>() || rows[0][0].as<int64_t>() < 0) return;
      found = Checkpoint{rows[0][0].as<int64_t>(), rows[0][1].c_str()};
    });
  } catch (const ReadModelDamaged&) {
    return std::nullopt;
  }
  return found;
}

void ReadModel::apply(const Change& change, const Checkpoint& from, const Checkpoint& to) {
  with_connection([&](pqxx::connection& connection) {
    pqxx::work session(connection);
    const auto moved = session.exec_prepared("advance", from.position, "\\x" + from.hash,
                                             to.position, "\\x" + to.hash);
    if (moved.empty()) throw ReadModelDamaged("the checkpoint is not where it was left");
    if (!change.cleared_streams.empty()) {
      session.exec_params(
          in_schema("DELETE FROM $.poison WHERE stream = ANY ($1::text[])", schema_),
          array_literal(change.cleared_streams));
    }
    if (!change.cleared_instances.empty()) {
      session.exec_params(in_schema("DELETE FROM $.documents WHERE (kind IN ('user', 'database') "
                                    "AND parent = ANY ($1::uuid[])) OR (kind IN ('instance', "
                                    "'route') AND uuid = ANY ($1::uuid[]))",
                                    schema_),
                          array_literal(change.cleared_instances));
    }
    put_removals(session, change.removals);
    put_upserts(session, change.upserts);
    for (const Poison& poison : change.poison) {
      session.exec_prepared("put_aside", poison.position, without_nul(poison.stream),
                            poison.version, without_nul(poison.type), without_nul(poison.error),
                            poison.retried);
    }
    session.commit();
  });
}

std::vector<Poison> ReadModel::poison() {
  std::vector<Poison> found;
  with_connection([&](pqxx::connection& connection) {
    pqxx::nontransaction session(connection);
    for (const auto& row : session.exec(
             in_schema("SELECT position, stream, version, type, error, retried FROM $.poison "
                       "ORDER BY position",
                       schema_))) {
      found.push_back({row[0].as<int64_t>(), row[1].c_str(), row[2].as<int64_t>(), row[3].c_str(),
                       row[4].c_str(), row[5].as<int>()});
    }
  });
  return found;
}

std::optional<Document> ReadModel::load(const DocKey& key) {
  std::optional<Document> found;
  with_connection([&](pqxx::connection& connection) {
    pqxx::nontransaction session(connection);
    const auto rows = session.exec_prepared("load", std::string(to_string(key.kind)), key.uuid,
                                            parent_of(key));
    if (!rows.empty()) found = document_of(rows[0]);
  });
  return found;
}

std::optional<Document> ReadModel::load_token(const std::string& sha256) {
  std::optional<Document> found;
  with_connection([&](pqxx::connection& connection) {
    pqxx::nontransaction session(connection);
    const auto rows = session.exec_prepared("load_token", sha256);
    if (!rows.empty()) found = document_of(rows[0]);
  });
  return found;
}

std::vector<Document> ReadModel::load_routes(const std::string& after, int limit) {
  std::vector<Document> found;
  with_connection([&](pqxx::connection& connection) {
    pqxx::nontransaction session(connection);
    const std::string& from = after.empty() ? kNoParent : after;
    for (const auto& row : session.exec_prepared("load_routes", from, limit)) {
      found.push_back(document_of(row));
    }
  });
  return found;
}

std::unordered_map<std::string, HostUsage> ReadModel::host_usage() {
  std::unordered_map<std::string, HostUsage> usage;
  with_connection([&](pqxx::connection& connection) {
    pqxx::nontransaction session(connection);
    for (const auto& row : session.exec(in_schema(
             "SELECT n->>'host', count(*), sum((doc->>'cpu')::bigint), "
             "sum((doc->>'ram')::bigint), sum((doc->>'disk_size')::bigint) FROM $.documents, "
             "json_array_elements(doc->'nodes') n WHERE kind = 'instance' GROUP BY 1",
             schema_))) {
      usage[row[0].c_str()] = {row[1].as<int64_t>(), row[2].as<int64_t>(), row[3].as<int64_t>(),
                               row[4].as<int64_t>()};
    }
  });
  return usage;
}

ReadModel::Digest ReadModel::digest() {
  Digest digest;
  with_connection([&](pqxx::connection& connection) {
    pqxx::transaction<pqxx::repeatable_read, pqxx::read_only> session(connection);
    digest.position =
        session.exec1(in_schema("SELECT position FROM $.checkpoint", schema_))[0].as<int64_t>();
    session.exec0(in_schema(
        "DECLARE every_document NO SCROLL CURSOR FOR SELECT kind || '/' || uuid || '/' || parent "
        "|| '/' || project_id || '/' || created_us || '/' || coalesce(token_hash, '') || '/' || "
        "doc::text FROM $.documents ORDER BY kind, uuid, parent",
        schema_));
    std::string chain;
    while (true) {
      const auto rows = session.exec("FETCH 2000 FROM every_document");
      if (rows.empty()) break;
      for (const auto& row : rows) {
        chain = sha256(chain + row[0].c_str());
        ++digest.documents;
      }
    }
    digest.sha256 = hex(sha256(chain));
  });
  return digest;
}

}  // namespace trunkline::lookup
