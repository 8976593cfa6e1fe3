#include "agent/domain/node_spec.h"

#include "base/digest.h"
#include "base/host_name.h"
#include "base/ids.h"

namespace trunkline::agent {
namespace {

bool is_ip_text(const std::string& text) {
  if (text.empty() || text.size() > 45) return false;
  return text.find_first_not_of("0123456789abcdefABCDEF.:") == std::string::npos;
}

std::string invalid_address(const NodeAddress& a, const std::string& field) {
  if (!is_ip_text(a.address)) return field + ".address must be an IP address";
  if (a.port < 1024 || a.port > 65535) return field + ".port must be between 1024 and 65535";
  if (!a.host.empty() && !is_host_name(a.host)) {
    return field + ".host must be " + kHostNameRule;
  }
  return "";
}

bool is_object_name(const std::string& name) {
  return !name.empty() && name.size() <= 63 && name.find('\0') == std::string::npos;
}

bool all_uuids(const std::vector<std::string>& ids) {
  for (const auto& id : ids) {
    if (!is_uuid(id)) return false;
  }
  return true;
}

}  // namespace

bool size_is_refused(const Manifest& m) {
  return m.ensure && m.refused_generation > 0 && m.refused_generation == m.ensure->generation;
}

NodeSize size_in_use(const Manifest& m) {
  return size_is_refused(m) ? m.proven_size : m.ensure->size;
}

bool is_safe_name(const std::string& text) {
  if (text.empty() || text.size() > 63 || text[0] == '.' || text[0] == '-') return false;
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == std::string::npos;
}

std::string invalid_reason(const EnsureSpec& spec) {
  if (!is_safe_name(spec.image)) return "image is not a name";
  if (spec.size.cpu < 1 || spec.size.cpu > 1024) return "size.cpu must be between 1 and 1024";
  if (spec.size.ram_mb < 64 || spec.size.ram_mb > (uint64_t{16} << 20)) {
    return "size.ram_mb must be between 64 and 16777216";
  }
  if (spec.size.disk_gb < 1) return "size.disk_gb must be at least 1";
  return invalid_address(spec.address, "address");
}

std::string invalid_reason(const RoleSpec& spec) {
  if (spec.role == NodeRole::none) return "role must be primary, standby or fenced";
  for (const auto& peer : spec.peers) {
    if (!is_uuid(peer.node_id)) return "peers has a node_id that is not a UUID";
    if (!is_host_name(peer.host)) {
      return std::string("peers has a host that is not ") + kHostNameRule;
    }
    if (!peer.address.empty() && !is_ip_text(peer.address)) {
      return "peers has an address that is not an IP address";
    }
  }
  if (spec.role == NodeRole::fenced) return "";
  if (spec.role == NodeRole::standby) {
    if (!is_uuid(spec.upstream_node_id)) return "upstream_node_id is not a UUID";
    return invalid_address(spec.upstream, "upstream");
  }
  if (!all_uuids(spec.standby_node_ids)) return "standby_node_ids has one that is not a UUID";
  if (!all_uuids(spec.sync_candidates)) return "sync_candidates has one that is not a UUID";
  if (spec.sync_number > spec.sync_candidates.size()) {
    return "sync_number must not be more than the sync_candidates";
  }
  return "";
}

std::string invalid_reason(const ObjectsSpec& spec) {
  for (const auto& user : spec.users) {
    if (!is_uuid(user.id)) return "users has a user_id that is not a UUID";
    if (!is_object_name(user.name)) return "users has a name that is empty or too long";
    if (!is_scram_sha256_verifier(user.scram_verifier)) {
      return "users has a scram_verifier that is not one";
    }
  }
  for (const auto& database : spec.databases) {
    if (!is_uuid(database.id)) return "databases has a database_id that is not a UUID";
    if (!is_object_name(database.name)) return "databases has a name that is empty or too long";
  }
  if (!all_uuids(spec.dropped_user_ids)) return "dropped_user_ids has one that is not a UUID";
  if (!all_uuids(spec.dropped_database_ids)) {
    return "dropped_database_ids has one that is not a UUID";
  }
  return "";
}

}  // namespace trunkline::agent
