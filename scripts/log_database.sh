#!/bin/bash
# Roles, databases and schema of the log's PostgreSQL; run by the supervisor whenever that server
# has come up with the platform. Safe to repeat. Needs the peer login of postgres on the socket.
# Arguments: PSQL SOCKET_DIR PORT SCHEMA_FILE
set -euo pipefail
psql=$1 socket_dir=$2 port=$3 schema_file=$4

run() { # DATABASE: the SQL comes on standard input
  PGOPTIONS='-c client_min_messages=warning -c log_min_error_statement=panic' \
    "$psql" -X -q -v ON_ERROR_STOP=1 -h "$socket_dir" -p "$port" -U postgres -d "$1" -f - >/dev/null
}

# After a power cut the server accepts connections only when it has replayed its log.
for ((i = 0; i < 600; i++)); do
  echo 'SELECT 1' | run postgres 2>/dev/null && break
  sleep 0.1
done

run postgres <<END
DO \$\$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tl_provisioner', 'tl_replication', 'tl_metering', 'tl_lookup',
                             'tl_reader'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I LOGIN', name);
    END IF;
  END LOOP;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tl_owner') THEN
    CREATE ROLE tl_owner NOLOGIN;
  END IF;
END \$\$;
ALTER ROLE tl_reader PASSWORD NULL;  -- of homes whose log listened on a port
ALTER ROLE tl_reader SET default_transaction_read_only = on;
SELECT 'CREATE DATABASE trunkline_log OWNER tl_owner'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'trunkline_log') \gexec
SELECT 'CREATE DATABASE trunkline_lookup OWNER tl_lookup'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'trunkline_lookup') \gexec
SELECT 'CREATE DATABASE trunkline_metering OWNER tl_metering'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'trunkline_metering') \gexec
REVOKE ALL ON DATABASE postgres, template1, trunkline_log, trunkline_lookup, trunkline_metering
  FROM PUBLIC;
GRANT CONNECT ON DATABASE trunkline_log
  TO tl_provisioner, tl_replication, tl_metering, tl_lookup, tl_reader;
END

run trunkline_log <"$schema_file"
