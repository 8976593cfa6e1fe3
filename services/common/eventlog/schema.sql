-- The event log. Applied to database trunkline_log by a superuser at every start; safe to repeat.
-- Roles (made before): tl_owner owns and cannot log in; tl_provisioner, tl_replication,
-- tl_metering, tl_lookup and tl_reader may read; a writer appends only through log.append(), only
-- to its own aggregates.

CREATE SCHEMA IF NOT EXISTS log AUTHORIZATION tl_owner;
REVOKE ALL ON SCHEMA log FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

SET ROLE tl_owner;

CREATE SEQUENCE IF NOT EXISTS log.position_seq AS bigint CACHE 1;

CREATE TABLE IF NOT EXISTS log.event (
  position       bigint  PRIMARY KEY,
  stream         text    NOT NULL,
  version        bigint  NOT NULL CHECK (version > 0),
  type           text    NOT NULL,
  schema_version integer NOT NULL,
  payload        bytea   NOT NULL,
  command_id     uuid    NOT NULL,
  causation_id   text    NOT NULL,
  correlation_id text    NOT NULL,
  actor          text    NOT NULL,
  traceparent    text    NOT NULL,
  recorded_us    bigint  NOT NULL,   -- Unix time in microseconds, UTC
  previous_hash  bytea   NOT NULL,
  hash           bytea   NOT NULL,
  CONSTRAINT event_stream_version UNIQUE (stream, version)
);
CREATE INDEX IF NOT EXISTS event_command ON log.event (command_id);
CREATE INDEX IF NOT EXISTS event_recorded ON log.event USING brin (recorded_us);

-- The one answer of a command, so that asking again has no second effect.
CREATE TABLE IF NOT EXISTS log.command_result (
  command_id   uuid   PRIMARY KEY,
  request_hash bytea  NOT NULL,
  answer       bytea  NOT NULL,
  recorded_us  bigint NOT NULL
);
-- Who asked for it, from where, and what came of it; null: decided before this was recorded.
ALTER TABLE log.command_result ADD COLUMN IF NOT EXISTS audit jsonb;
CREATE INDEX IF NOT EXISTS command_result_recorded
  ON log.command_result (recorded_us, command_id) WHERE audit IS NOT NULL;
CREATE INDEX IF NOT EXISTS command_result_project
  ON log.command_result ((audit->>'project_id'), recorded_us, command_id)
  WHERE audit IS NOT NULL;

-- Who may append to which aggregate.
CREATE TABLE IF NOT EXISTS log.writer (
  aggregate text NOT NULL,
  role      name NOT NULL,
  PRIMARY KEY (aggregate, role)
);
INSERT INTO log.writer VALUES
  ('instance', 'tl_provisioner'), ('host', 'tl_provisioner'), ('version', 'tl_provisioner'),
  ('token', 'tl_provisioner'), ('group', 'tl_replication'), ('usage', 'tl_metering'),
  ('pricelist', 'tl_metering'), ('webhook', 'tl_metering'), ('quota', 'tl_provisioner')
ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the event log is append-only: % on %.% is refused', TG_OP, TG_TABLE_SCHEMA,
    TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['event', 'command_result'] LOOP
    IF NOT EXISTS (SELECT FROM pg_trigger
                   WHERE tgname = 'append_only' AND tgrelid = ('log.' || t)::regclass) THEN
      EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.%I
                      FOR EACH ROW EXECUTE FUNCTION log.refuse_change()', t);
      EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.%I
                      FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change()', t);
    END IF;
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION log.sized(field bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT int4send(length(field)) || field $$;

-- SHA-256 over every field but the hash itself; eventlog::compute_hash() is its twin.
CREATE OR REPLACE FUNCTION log.compute_hash(
  p_position bigint, p_stream text, p_version bigint, p_type text, p_schema integer,
  p_payload bytea, p_command uuid, p_causation text, p_correlation text, p_actor text,
  p_traceparent text, p_recorded_us bigint, p_previous_hash bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT sha256(int8send(p_position) || int8send(p_version) || int4send(p_schema)
    || int8send(p_recorded_us)
    || log.sized(convert_to(p_stream, 'UTF8')) || log.sized(convert_to(p_type, 'UTF8'))
    || log.sized(p_payload) || log.sized(convert_to(p_command::text, 'UTF8'))
    || log.sized(convert_to(p_causation, 'UTF8')) || log.sized(convert_to(p_correlation, 'UTF8'))
    || log.sized(convert_to(p_actor, 'UTF8')) || log.sized(convert_to(p_traceparent, 'UTF8'))
    || log.sized(p_previous_hash))
$$;

-- Appends the events of one decision, all or none. Answers one row an event with outcome
-- 'appended'; or one row: 'duplicate' (the command has a result), 'conflict' (the stream is not at
-- p_expected, position holds where it is), 'recorded' (no events, the result was stored).
-- Two writers that pass the check together meet in the unique index.
DROP FUNCTION IF EXISTS log.append(text, bigint, uuid, text, text, text, text, text[], integer[],
  bytea[], bytea, bytea);
CREATE OR REPLACE FUNCTION log.append(
  p_stream text, p_expected bigint, p_command uuid, p_causation text, p_correlation text,
  p_actor text, p_traceparent text, p_types text[], p_schemas integer[], p_payloads bytea[],
  p_request_hash bytea, p_answer bytea, p_audit jsonb DEFAULT NULL)
RETURNS TABLE (outcome text, out_position bigint, out_version bigint, out_recorded_us bigint,
               out_previous_hash bytea, out_hash bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  v_version bigint;
  v_hash    bytea;
BEGIN
  IF NOT EXISTS (SELECT FROM log.writer w
                 WHERE w.aggregate = split_part(p_stream, '-', 1) AND w.role = session_user) THEN
    RAISE EXCEPTION '% may not append to %', session_user, p_stream
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF p_answer IS NOT NULL AND EXISTS (SELECT FROM log.command_result r
                                      WHERE r.command_id = p_command) THEN
    RETURN QUERY SELECT 'duplicate'::text, 0::bigint, 0::bigint, 0::bigint, ''::bytea, ''::bytea;
    RETURN;
  END IF;
  SELECT e.version, e.hash INTO v_version, v_hash FROM log.event e
    WHERE e.stream = p_stream ORDER BY e.version DESC LIMIT 1;
  v_version := coalesce(v_version, 0);
  v_hash := coalesce(v_hash, decode(repeat('00', 32), 'hex'));
  IF v_version <> p_expected THEN
    RETURN QUERY SELECT 'conflict'::text, v_version, v_version, 0::bigint, ''::bytea, ''::bytea;
    RETURN;
  END IF;
  out_recorded_us := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
  IF p_answer IS NOT NULL THEN
    INSERT INTO log.command_result
      VALUES (p_command, p_request_hash, p_answer, out_recorded_us, p_audit);
  END IF;
  IF cardinality(p_types) = 0 THEN
    RETURN QUERY
      SELECT 'recorded'::text, 0::bigint, v_version, out_recorded_us, ''::bytea, ''::bytea;
    RETURN;
  END IF;
  -- A transaction id before the first position: readers wait for ids to end before they take a
  -- missing position for good.
  PERFORM pg_current_xact_id();
  FOR i IN 1 .. cardinality(p_types) LOOP
    out_position := nextval('log.position_seq');
    out_version := v_version + i;
    out_previous_hash := v_hash;
    out_hash := log.compute_hash(out_position, p_stream, out_version, p_types[i], p_schemas[i],
      p_payloads[i], p_command, p_causation, p_correlation, p_actor, p_traceparent,
      out_recorded_us, out_previous_hash);
    INSERT INTO log.event VALUES (out_position, p_stream, out_version, p_types[i], p_schemas[i],
      p_payloads[i], p_command, p_causation, p_correlation, p_actor, p_traceparent,
      out_recorded_us, out_previous_hash, out_hash);
    v_hash := out_hash;
    outcome := 'appended';
    RETURN NEXT;
  END LOOP;
END $$;

-- Which process of a service acts for all of them. It renews its row; another takes the row when it
-- saw it unchanged for long enough on its own clock. No time of this database is in it.
CREATE TABLE IF NOT EXISTS log.ownership (
  name     text   PRIMARY KEY,   -- of the service
  owner    uuid,                 -- a process; null: released
  renewals bigint NOT NULL       -- grows with every change
);

CREATE OR REPLACE FUNCTION log.check_ownership(p_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF session_user <> 'tl_' || p_name THEN
    RAISE EXCEPTION '% may not own %', session_user, p_name
      USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

-- True if the row was as it was seen and is the taker's now.
CREATE OR REPLACE FUNCTION log.take_ownership(p_name text, p_owner uuid, p_seen_owner uuid,
                                              p_seen_renewals bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM log.check_ownership(p_name);
  INSERT INTO log.ownership VALUES (p_name, NULL, 0) ON CONFLICT DO NOTHING;
  UPDATE log.ownership o SET owner = p_owner, renewals = o.renewals + 1
    WHERE o.name = p_name AND o.owner IS NOT DISTINCT FROM p_seen_owner
      AND o.renewals = p_seen_renewals;
  RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION log.renew_ownership(p_name text, p_owner uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM log.check_ownership(p_name);
  UPDATE log.ownership o SET renewals = o.renewals + 1
    WHERE o.name = p_name AND o.owner = p_owner;
  RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION log.release_ownership(p_name text, p_owner uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM log.check_ownership(p_name);
  UPDATE log.ownership o SET owner = NULL, renewals = o.renewals + 1
    WHERE o.name = p_name AND o.owner = p_owner;
  RETURN FOUND;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA log FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA log FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC;
GRANT USAGE ON SCHEMA log
  TO tl_provisioner, tl_replication, tl_metering, tl_lookup, tl_reader;
GRANT SELECT ON log.event, log.command_result
  TO tl_provisioner, tl_replication, tl_metering, tl_lookup, tl_reader;
GRANT EXECUTE ON FUNCTION log.append(text, bigint, uuid, text, text, text, text, text[], integer[],
  bytea[], bytea, bytea, jsonb) TO tl_provisioner, tl_replication, tl_metering;
GRANT SELECT ON log.ownership TO tl_replication, tl_lookup, tl_reader;
GRANT EXECUTE ON FUNCTION log.take_ownership(text, uuid, uuid, bigint),
  log.renew_ownership(text, uuid), log.release_ownership(text, uuid) TO tl_replication;

-- Snapshots are a cache: losing them costs start-up time only.
CREATE SCHEMA IF NOT EXISTS cache AUTHORIZATION tl_owner;
CREATE TABLE IF NOT EXISTS cache.snapshot (
  service   text    PRIMARY KEY,
  position  bigint  NOT NULL,
  format    integer NOT NULL,
  taken_us  bigint  NOT NULL,
  data      bytea   NOT NULL
);
GRANT USAGE ON SCHEMA cache TO tl_provisioner, tl_replication;
GRANT SELECT, INSERT, UPDATE, DELETE ON cache.snapshot TO tl_provisioner, tl_replication;

RESET ROLE;
