// The certificate that a node is known by to the other nodes of its group and to proxies. The
// host's own (issuer.crt, issuer.key; only the agent reads the key) makes them and is itself good
// for this host's names only, so that no host can speak for a node of another. The node's key is
// readable by the node's user alone: it opens what the peers in that node's group let in, and no
// other group.
#pragma once

#include <cstdint>
#include <string>

#include "agent/io/file_ops.h"

namespace trunkline::agent {

struct NodeCertificateOrder {
  std::string issuer_dir;  // ca.crt, issuer.crt, issuer.key
  std::string node_dir;    // gets tls/ with ca.crt, node.crt (the chain), node.key
  std::string node_id;
  std::string host;
  std::string address;  // an IP address
};

// Makes one if there is none that fits and lasts. Returns what changes with it (a digest). Throws
// std::exception.
std::string ensure_node_certificate(const NodeCertificateOrder& order, const NodeUser& user);

}  // namespace trunkline::agent
