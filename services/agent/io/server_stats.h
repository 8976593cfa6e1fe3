// The statistics of a node's server by SQL, for counters and for people. For one thread.
#pragma once

#include <string>
#include <vector>

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

// What a part of the statistics failed with. The session is of further use.
struct LostPart {
  std::string part;  // "activity", "wal_directory", "locks", "databases", "statements", "texts"
  std::string why;
};

// Each part is for itself: one that the server refuses is lost, for a tenant can make it fail, and
// the others are in `out`. Without the activity nothing is worth sending. Throws PgError when the
// session is of no more use; what was read until then is in `out`.
std::vector<LostPart> read_server_stats(PgConnection& connection, bool statements,
                                        v1::ServerStats* out);

}  // namespace trunkline::agent
