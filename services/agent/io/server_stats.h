// The statistics of a node's server by SQL, for counters and for people. For one thread.
#pragma once

#include <string>

#include "agent/domain/node_counters.h"
#include "agent/io/pg_connection.h"
#include "trunkline/v1/stats.pb.h"

namespace trunkline::agent {

// Bounds every statement on the server, too. To be done first on a connection.
void prepare_stats_session(PgConnection& connection);

// Without the history of its timeline. Databases that only the platform uses do not count.
ServerReading read_server(PgConnection& connection);

struct StatementsExtension {
  bool loaded = false;  // the server keeps them
  bool there = false;   // the extension is in database postgres
};
StatementsExtension find_statements(PgConnection& connection);
// Of an open primary.
void create_statements(PgConnection& connection);

void read_server_stats(PgConnection& connection, bool statements, v1::ServerStats* out);

}  // namespace trunkline::agent
