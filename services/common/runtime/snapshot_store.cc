#include "runtime/snapshot_store.h"

#include <pqxx/pqxx>

namespace trunkline::runtime {

std::optional<Snapshot> SnapshotStore::load() {
  pqxx::connection connection(dsn_);
  pqxx::nontransaction session(connection);
  const pqxx::result rows = session.exec_params(
      "SELECT position, data FROM cache.snapshot WHERE service = $1 AND format = $2", service_,
      format_);
  if (rows.empty()) return std::nullopt;
  return Snapshot{rows[0][0].as<int64_t>(), pqxx::binarystring(rows[0][1]).str()};
}

void SnapshotStore::save(const Snapshot& snapshot) {
  pqxx::connection connection(dsn_);
  pqxx::work transaction(connection);
  transaction.exec_params(
      "INSERT INTO cache.snapshot (service, position, format, taken_us, data) "
      "VALUES ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $4) "
      "ON CONFLICT (service) DO UPDATE SET position = excluded.position, "
      "format = excluded.format, taken_us = excluded.taken_us, data = excluded.data",
      service_, snapshot.position, format_, pqxx::binarystring(snapshot.data));
  transaction.commit();
}

}  // namespace trunkline::runtime
