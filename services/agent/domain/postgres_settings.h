// What PostgreSQL is told: postgresql.conf, pg_hba.conf and pg_ident.conf as texts. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "agent/domain/memory_rules.h"
#include "agent/domain/node_spec.h"

namespace trunkline::agent {

inline constexpr char kReplicatorRole[] = "trunkline_replicator";
inline constexpr char kConfigMark[] =
    "trunkline.config";  // setting that tells which text is in force

// Memory and connection settings that follow from what a node may use.
struct SizedSettings {
  uint32_t max_connections = 0;
  uint64_t shared_buffers_mb = 0;
  uint64_t effective_cache_size_mb = 0;
  uint64_t work_mem_kb = 0;
  uint64_t maintenance_work_mem_mb = 0;
  uint32_t max_worker_processes = 0;
  uint32_t max_parallel_workers = 0;
  uint64_t max_wal_size_mb = 0;
  uint64_t max_slot_wal_keep_size_mb = 0;
  ProcessMemory process;
  bool operator==(const SizedSettings&) const = default;
};
// No more memory than the host has (0: not known) is counted on.
SizedSettings sized_settings(const NodeSize& size, uint64_t host_ram_mb = 0);

// Settings that a standby must not have lower than what its data was written under (from
// pg_control as it is now): it would refuse to start. So a primary does not lower them while it has
// standbys, either.
struct StandbyFloor {
  uint32_t max_connections = 0;
  uint32_t max_worker_processes = 0;
};

struct ConfigInput {
  std::string node_id;
  EnsureSpec ensure;
  RoleSpec role;       // NodeRole::none: neither replication source nor target yet
  NodeSize size;            // that is in use
  uint64_t host_ram_mb = 0;
  bool keeps_floor = true;  // a standby's data, or a primary that has standbys or is not to restart
  StandbyFloor floor;
  std::string socket_dir;
  bool socket_for_group = false;  // the proxy's group may enter socket_dir
  std::string tls_dir;       // ca.crt, node.crt, node.key
  std::string upstream_key;  // path of a link to node.key that a standby connects with
  std::string access;        // what else says who is let in: its change is one of the configuration
  bool read_only = false;  // the disk is nearly full
  bool closed = false;     // it is full: clients are rejected (pg_hba_closed_conf())
  uint64_t disk_unit_mb = 1024;  // of a GB of the order
  bool statements = false;  // the image can count statements
  std::string guard;        // path of its guard (guard/), which its servers load; "": there is none
};

// The whole postgresql.conf. Its last line sets kConfigMark to a digest of the lines before it.
std::string postgresql_conf(const ConfigInput& input);
// The digest that postgresql_conf() wrote into `text`, or "".
std::string config_mark(const std::string& text);

// Stands for the sync set where nobody writes: when a promotion replaces it, sessions wait from the
// first commit on (what tells them to wait at all is set long before).
inline constexpr char kNoSyncSet[] = "\"trunkline-nobody\"";

// Value of synchronous_standby_names: ANY n ("id", ...), "" for asynchronous, kNoSyncSet for what
// is no primary.
std::string synchronous_standby_names(const RoleSpec& role);
// How a standby reaches its upstream: TLS, verified by the host's name, with the node's own
// certificate and the key in `key`. The name is shown in pg_stat_replication; only a standby's
// server may use its node id there, because it votes.
std::string primary_conninfo(const std::string& name, const RoleSpec& role,
                             const std::string& tls_dir, const std::string& key);
inline constexpr char kCopyName[] = "trunkline-copy";  // a base backup, or a rewind

// Where a tenant's clients come in: by a proxy, that is, by the socket or with a certificate of the
// platform's beside the password; or (for a proxy of the release before) from anywhere.
enum class Clients { by_proxy, direct };

// First match wins there, so the order is the policy: the superuser by unix socket only, the
// replication role by the certificate of a peer only, everybody else with a password.
std::string pg_hba_conf(Clients clients);
// No client is let in.
std::string pg_hba_closed_conf();
// The operating system's users that the agent and the node (its keeper) run as; and the peers that
// may copy the node.
std::string pg_ident_conf(const std::string& agent_user, const std::string& node_user,
                          const RoleSpec& role);

// What the replication role needs beside replication: pg_rewind's questions. For database postgres.
std::string rewind_grants_sql();

}  // namespace trunkline::agent
