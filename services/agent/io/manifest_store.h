// The nodes' manifests on disk: one file a node, in a directory that only the agent's user can
// read (they hold password verifiers). Durable when write() returns. Thread-safe for different
// nodes.
#pragma once

#include <string>
#include <vector>

#include "agent/domain/node_spec.h"

namespace trunkline::agent {

class ManifestStore {
 public:
  explicit ManifestStore(std::string directory);  // made if it is not there
  std::vector<Manifest> read_all() const;         // a damaged file is left alone and logged
  void write(const Manifest& manifest) const;
  void forget(const std::string& node_id) const;

 private:
  std::string directory_;
};

std::string manifest_to_json(const Manifest& manifest);
Manifest manifest_from_json(const std::string& text);  // throws std::exception if it is malformed

}  // namespace trunkline::agent
