// The counters of this host's nodes on disk, one file a node, readable and writable by the agent's
// user only: who breaks out of a database must not write his own bill. For one thread.
#pragma once

#include <string>

#include "agent/domain/node_counters.h"

namespace trunkline::agent {

std::string counters_to_json(const CounterState& state);
CounterState counters_from_json(const std::string& text);  // throws std::exception

class CounterStore {
 public:
  explicit CounterStore(std::string directory);  // makes it
  // A new epoch if there is no file, or none that can be read.
  CounterState read(const std::string& node_id) const;
  // Survives the end of any process. After a power cut it may be older; then the counters go on
  // from there. Throws std::system_error.
  void write(const std::string& node_id, const CounterState& state) const;
  void forget(const std::string& node_id) const;

 private:
  std::string path(const std::string& node_id) const;
  std::string directory_;
};

}  // namespace trunkline::agent
