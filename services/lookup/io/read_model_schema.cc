#include "lookup/io/read_model.h"

namespace trunkline::lookup {
namespace {

constexpr int kFormat = 4;

std::string with_schema(std::string sql, const std::string& schema) {
  for (size_t at = sql.find('$'); at != std::string::npos; at = sql.find('$', at)) {
    sql.replace(at, 1, schema);
  }
  return sql;
}

}  // namespace

std::string read_model_format(const Rendering& rendering) {
  return std::to_string(kFormat) + " " + rendering.endpoint_address;
}

// `doc` is json, not jsonb: the text that is served is the text that was written.
std::string tables_sql(const std::string& schema) {
  return with_schema(R"sql(
CREATE SCHEMA $;
CREATE TABLE $.documents (
  kind       text COLLATE "C" NOT NULL,
  uuid       uuid NOT NULL,
  parent     uuid NOT NULL,
  project_id text COLLATE "C" NOT NULL,
  created_us bigint NOT NULL,
  token_hash text COLLATE "C",
  doc        json NOT NULL
);
CREATE TABLE $.poison (
  position   bigint PRIMARY KEY,
  stream     text NOT NULL,
  version    bigint NOT NULL,
  type       text NOT NULL,
  error      text NOT NULL,
  first_seen timestamptz NOT NULL DEFAULT now(),
  retried    integer NOT NULL DEFAULT 0
);
CREATE TABLE $.checkpoint (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  position bigint NOT NULL,
  hash     bytea NOT NULL,
  format   text NOT NULL
);
)sql", schema);
}

// The key begins with the uuid, and of the other indexes each is of the rows that are listed by it:
// making them is most of what a rebuild costs PostgreSQL.
//
// Whoever changes the documents but the projector breaks the checkpoint, and with it the promise
// that they are the fold of the log: that is seen at the next look and answered by a rebuild.
std::string finish_sql(const std::string& schema) {
  return with_schema(R"sql(
ALTER TABLE $.documents ADD PRIMARY KEY (uuid, kind, parent);
CREATE INDEX ON $.documents (created_us, uuid) WHERE kind = 'instance';
CREATE INDEX ON $.documents (project_id, created_us, uuid) WHERE kind = 'instance';
CREATE INDEX ON $.documents (parent) WHERE kind IN ('user', 'database');
CREATE INDEX ON $.documents (token_hash) WHERE token_hash IS NOT NULL;
CREATE INDEX ON $.poison (stream);
CREATE FUNCTION $.guard() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
  IF current_setting(''trunkline.projector'', true) IS DISTINCT FROM ''on'' THEN
    EXECUTE format(''UPDATE %I.checkpoint SET position = -1'', TG_TABLE_SCHEMA);
  END IF;
  RETURN NULL;
END';
CREATE TRIGGER guard AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON $.documents
  FOR EACH STATEMENT EXECUTE FUNCTION $.guard();
ANALYZE $.documents;
)sql", schema);
}

}  // namespace trunkline::lookup
