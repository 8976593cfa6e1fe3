#include "agent/io/counter_store.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "agent/io/file_ops.h"
#include "base/ids.h"
#include "runtime/random.h"

namespace trunkline::agent {

using nlohmann::json;

// Found by name by the JSON library, so they are in the structs' own namespace.
static void to_json(json& j, const SourceCount& s) { j = {s.source, s.value}; }
static void from_json(const json& j, SourceCount& s) {
  s = {j.at(0).get<std::string>(), j.at(1).get<uint64_t>()};
}
static void to_json(json& j, const DatabaseTransactions& d) { j = {d.reset, d.count}; }
static void from_json(const json& j, DatabaseTransactions& d) {
  d = {j.at(0).get<std::string>(), j.at(1).get<uint64_t>()};
}

std::string counters_to_json(const CounterState& s) {
  json databases = json::object();
  for (const auto& [oid, database] : s.databases) databases[std::to_string(oid)] = database;
  return json{{"format", 1},
              {"epoch", s.epoch},
              {"transactions", s.transactions},
              {"wal_bytes", s.wal_bytes},
              {"cpu_ms", s.cpu_ms},
              {"read_bytes", s.read_bytes},
              {"write_bytes", s.write_bytes},
              {"server_seen", s.server_seen},
              {"wal_timeline", s.wal_timeline},
              {"wal_lsn", s.wal_lsn},
              {"bgwriter_reset", s.bgwriter_reset},
              {"archiver_reset", s.archiver_reset},
              {"databases", databases},
              {"cpu_mark", s.cpu_mark},
              {"read_mark", s.read_mark},
              {"write_mark", s.write_mark}}
      .dump();
}

CounterState counters_from_json(const std::string& text) {
  const json j = json::parse(text);
  if (j.at("format") != 1) throw std::runtime_error("counters of an unknown format");
  CounterState s;
  s.epoch = j.at("epoch");
  if (!is_uuid(s.epoch)) throw std::runtime_error("counters without an epoch");
  s.transactions = j.at("transactions");
  s.wal_bytes = j.at("wal_bytes");
  s.cpu_ms = j.at("cpu_ms");
  s.read_bytes = j.at("read_bytes");
  s.write_bytes = j.at("write_bytes");
  s.server_seen = j.at("server_seen");
  s.wal_timeline = j.at("wal_timeline");
  s.wal_lsn = j.at("wal_lsn");
  s.bgwriter_reset = j.at("bgwriter_reset");
  s.archiver_reset = j.at("archiver_reset");
  for (const auto& [oid, database] : j.at("databases").items()) {
    s.databases[static_cast<uint32_t>(std::stoul(oid))] = database.get<DatabaseTransactions>();
  }
  s.cpu_mark = j.at("cpu_mark");
  s.read_mark = j.at("read_mark");
  s.write_mark = j.at("write_mark");
  return s;
}

CounterStore::CounterStore(std::string directory) : directory_(std::move(directory)) {
  make_directory(directory_, 0700);
}

std::string CounterStore::path(const std::string& node_id) const {
  return directory_ + "/" + node_id + ".json";
}

CounterState CounterStore::read(const std::string& node_id) const {
  if (const auto text = read_file(path(node_id))) {
    try {
      return counters_from_json(*text);
    } catch (const std::exception& e) {
      spdlog::error("node {}: its counters begin anew: {}", node_id, e.what());
    }
  }
  CounterState fresh;
  fresh.epoch = runtime::new_uuid();
  return fresh;
}

void CounterStore::write(const std::string& node_id, const CounterState& state) const {
  write_file_atomically(path(node_id), counters_to_json(state), 0600, false);
}

void CounterStore::forget(const std::string& node_id) const {
  ::unlink(path(node_id).c_str());
}

}  // namespace trunkline::agent
