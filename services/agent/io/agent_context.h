// What the nodes of one agent share. Outlives them all.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/io/cgroup_limits.h"
#include "agent/io/file_ops.h"
#include "agent/io/manifest_store.h"
#include "agent/io/node_users.h"
#include "agent/io/template_store.h"

namespace trunkline::agent {

class DiskWatch;

struct AgentPaths {
  std::string host_dir;  // <home>/hosts/<host>
  std::string tls_dir;
  std::string nodes_dir;
  std::string templates_dir;
  std::string manifests_dir;
  std::string counters_dir;
  std::string sockets_dir;  // <socket_dir>/<host>
};
// Canonical (PostgreSQL's processes are found by their working directory).
AgentPaths agent_paths(const std::string& home, const std::string& host,
                       const std::string& socket_dir);
// Makes what is missing: the templates' directory for the shared user; those in which each node has
// its own for the agent, where each node has its own user. Throws std::exception with what a set-up
// must put right, e.g. a parent directory that the nodes' users cannot pass.
void make_agent_directories(const AgentPaths& paths, const NodeUsers& users);

struct NodePaths {
  std::string dir;  // of everything of the node
  std::string data;
  std::string incoming;  // a data directory that is being made
  std::string old;       // one that is being replaced
  std::string log;
  std::string keeper_pid;
  std::string socket_dir;
  std::string control;  // the keeper's socket
  std::string upstream_key;  // link that a standby's server connects with; gone while it is fenced
  std::string forked;        // WAL that the group's history has left behind
  std::string tls;           // ca.crt, node.crt, node.key
  std::string door;          // who may knock at the server's port
  std::string guard;         // the library that the server loads
};
// Of another host of the same home, that is, of this machine.
AgentPaths peer_paths(const AgentPaths& agent, const std::string& host);
NodePaths node_paths(const AgentPaths& agent, const std::string& node_id);

struct AgentContext {
  std::string host;
  std::string agent_user;  // name of the operating system's user that the agent runs as
  std::string keeper;      // path of trunkline-keeper
  uint64_t host_ram_mb = 0;
  AgentPaths paths;
  bool direct_clients = false;  // not by a proxy only
  // Directories that nodes do not see but for their own, where they share a user; empty: they do.
  std::vector<std::string> hidden;
  // Of proxies on other machines; nothing: any address may be one's.
  std::optional<std::vector<std::string>> client_addresses;
  NodeUsers* users = nullptr;
  TemplateStore* templates = nullptr;
  CgroupLimits* cgroups = nullptr;
  ManifestStore* manifests = nullptr;
  DiskWatch* disks = nullptr;
  uint64_t disk_unit_mb = 1024;  // of a GB that is ordered
  std::atomic<uint32_t> nodes{0};       // of the host
  std::atomic<uint32_t> in_a_hurry{0};  // those of them that look again in less than kIdle
  std::function<void()> report_changed;  // from any thread
};

}  // namespace trunkline::agent
