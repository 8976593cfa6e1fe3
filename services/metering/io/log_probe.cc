#include "metering/io/log_probe.h"

#include <chrono>
#include <thread>

#include "base/digest.h"

namespace trunkline::metering {

int64_t LogProbe::now_ms() {
  pqxx::nontransaction session(connection_);
  return session.exec1("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")[0]
      .as<int64_t>();
}

bool LogProbe::holds(const StoreCheckpoint& at) {
  if (at.position == 0) return true;
  pqxx::nontransaction session(connection_);
  return !session
              .exec_params("SELECT 1 FROM log.event WHERE position = $1 AND "
                           "encode(hash, 'hex') = $2",
                           at.position, hex(at.hash))
              .empty();
}

// Whoever appends takes a transaction id before its first position: once all that are older than
// an id taken now have ended, nothing comes in before the last position.
int64_t LogProbe::settled() {
  pqxx::nontransaction session(connection_);
  const auto last =
      session.exec1("SELECT coalesce(max(position), 0) FROM log.event")[0].as<int64_t>();
  const auto mine = std::stoull(session.exec1("SELECT pg_current_xact_id()::text")[0].c_str());
  while (std::stoull(session.exec1("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")[0]
                         .c_str()) <= mine) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return last;
}

}  // namespace trunkline::metering
