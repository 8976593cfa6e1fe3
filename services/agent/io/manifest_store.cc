#include "agent/io/manifest_store.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "agent/io/file_ops.h"
#include "base/ids.h"

namespace trunkline::agent {

using nlohmann::json;

namespace {

const char* role_text(NodeRole role) {
  switch (role) {
    case NodeRole::none:
      return "none";
    case NodeRole::primary:
      return "primary";
    case NodeRole::standby:
      return "standby";
    case NodeRole::fenced:
      return "fenced";
  }
  return "none";
}

NodeRole role_from(const std::string& text) {
  if (text == "primary") return NodeRole::primary;
  if (text == "fenced") return NodeRole::fenced;
  return text == "standby" ? NodeRole::standby : NodeRole::none;
}

}  // namespace

// Found by name by the JSON library, so they are in the structs' own namespace.
static void to_json(json& j, const NodeAddress& a) {
  j = {{"host", a.host}, {"zone", a.zone}, {"address", a.address}, {"port", a.port}};
}
static void from_json(const json& j, NodeAddress& a) {
  a = {j.at("host"), j.at("zone"), j.at("address"), j.at("port")};
}
static void to_json(json& j, const EnsureSpec& e) {
  j = {{"generation", e.generation}, {"image", e.image},          {"cpu", e.size.cpu},
       {"ram_mb", e.size.ram_mb},    {"disk_gb", e.size.disk_gb}, {"address", e.address}};
}
static void from_json(const json& j, EnsureSpec& e) {
  e = {j.at("generation"),
       j.at("image"),
       {j.at("cpu"), j.at("ram_mb"), j.at("disk_gb")},
       j.at("address").get<NodeAddress>()};
}
static void to_json(json& j, const TimelineSwitch& t) {
  j = {{"timeline", t.timeline}, {"begin_lsn", t.begin_lsn}};
}
static void from_json(const json& j, TimelineSwitch& t) {
  t = {j.at("timeline"), j.at("begin_lsn")};
}
static void to_json(json& j, const PeerSpec& p) {
  j = {{"node_id", p.node_id}, {"host", p.host}, {"address", p.address}};
}
static void from_json(const json& j, PeerSpec& p) {
  p = {j.at("node_id"), j.at("host"), j.at("address")};
}
static void to_json(json& j, const RoleSpec& r) {
  j = {{"generation", r.generation},
       {"term", r.term},
       {"role", role_text(r.role)},
       {"upstream_node_id", r.upstream_node_id},
       {"upstream", r.upstream},
       {"standby_node_ids", r.standby_node_ids},
       {"sync_version", r.sync_version},
       {"sync_candidates", r.sync_candidates},
       {"sync_number", r.sync_number},
       {"opened_before", r.opened_before},
       {"patience_ms", r.patience_ms},
       {"timeline", r.timeline},
       {"history", r.history},
       {"peers", r.peers}};
}
static void from_json(const json& j, RoleSpec& r) {
  r.generation = j.at("generation");
  r.term = j.at("term");
  r.role = role_from(j.at("role"));
  r.upstream_node_id = j.at("upstream_node_id");
  r.upstream = j.at("upstream").get<NodeAddress>();
  r.standby_node_ids = j.at("standby_node_ids").get<std::vector<std::string>>();
  r.sync_version = j.at("sync_version");
  r.sync_candidates = j.at("sync_candidates").get<std::vector<std::string>>();
  r.sync_number = j.at("sync_number");
  r.opened_before = j.at("opened_before");
  r.patience_ms = j.value("patience_ms", 0u);
  r.timeline = j.value("timeline", 0u);
  r.history = j.value("history", std::vector<TimelineSwitch>{});
  r.peers = j.value("peers", std::vector<PeerSpec>{});
  // Written before peers were named: it is asked for anew, as it goes on.
  if (!j.contains("peers")) r.generation = 0;
}
static void to_json(json& j, const UserSpec& u) {
  j = {{"id", u.id}, {"name", u.name}, {"scram_verifier", u.scram_verifier}};
}
static void from_json(const json& j, UserSpec& u) {
  u = {j.at("id"), j.at("name"), j.at("scram_verifier")};
}
static void to_json(json& j, const DatabaseSpec& d) {
  j = {{"id", d.id},         {"name", d.name},         {"owner_id", d.owner_id},
       {"anew", d.anew},     {"locale", d.locale},     {"encoding", d.encoding},
       {"icu_locale", d.icu_locale}};
}
static void from_json(const json& j, DatabaseSpec& d) {
  d = {j.at("id"),
       j.at("name"),
       j.at("owner_id"),
       j.value("anew", uint64_t{0}),
       j.value("locale", ""),
       j.value("encoding", ""),
       j.value("icu_locale", "")};
}
static void to_json(json& j, const ObjectsSpec& o) {
  j = {{"version", o.version},
       {"users", o.users},
       {"databases", o.databases},
       {"dropped_user_ids", o.dropped_user_ids},
       {"dropped_database_ids", o.dropped_database_ids}};
}
static void from_json(const json& j, ObjectsSpec& o) {
  o = {j.at("version"), j.at("users").get<std::vector<UserSpec>>(),
       j.at("databases").get<std::vector<DatabaseSpec>>(),
       j.at("dropped_user_ids").get<std::vector<std::string>>(),
       j.at("dropped_database_ids").get<std::vector<std::string>>()};
}

std::string manifest_to_json(const Manifest& m) {
  json j = {{"format", 1},
            {"node_id", m.node_id},
            {"instance_id", m.instance_id},
            {"remove", m.remove},
            {"quarantined", m.quarantined},
            {"formed", m.formed},
            {"formed_as", role_text(m.formed_as)},
            {"unsynced_boot_id", m.unsynced_boot_id},
            {"opened_term", m.opened_term},
            {"confirmed_sync", m.confirmed_sync},
            {"fenced_term", m.fenced_term},
            {"fenced_timeline", m.fenced_timeline},
            {"promoted_term", m.promoted_term},
            {"rewinding", m.rewinding},
            {"proven_generation", m.proven_generation},
            {"proven_cpu", m.proven_size.cpu},
            {"proven_ram_mb", m.proven_size.ram_mb},
            {"proven_disk_gb", m.proven_size.disk_gb},
            {"refused_generation", m.refused_generation},
            {"refused_why", m.refused_why}};
  if (m.ensure) j["ensure"] = *m.ensure;
  if (m.role) j["role"] = *m.role;
  if (m.objects) j["objects"] = *m.objects;
  return j.dump(1);
}

Manifest manifest_from_json(const std::string& text) {
  const json j = json::parse(text);
  if (j.at("format") != 1) throw std::runtime_error("manifest of an unknown format");
  Manifest m;
  m.node_id = j.at("node_id");
  m.instance_id = j.at("instance_id");
  if (!is_uuid(m.node_id)) throw std::runtime_error("manifest with a malformed node_id");
  if (j.contains("ensure")) m.ensure = j.at("ensure").get<EnsureSpec>();
  if (j.contains("role")) m.role = j.at("role").get<RoleSpec>();
  if (j.contains("objects")) m.objects = j.at("objects").get<ObjectsSpec>();
  m.remove = j.at("remove");
  m.quarantined = j.value("quarantined", false);
  m.formed = j.at("formed");
  m.formed_as = role_from(j.at("formed_as"));
  m.unsynced_boot_id = j.at("unsynced_boot_id");
  m.opened_term = j.at("opened_term");
  m.confirmed_sync = j.at("confirmed_sync");
  m.fenced_term = j.value("fenced_term", uint64_t{0});
  m.fenced_timeline = j.value("fenced_timeline", 0u);
  m.promoted_term = j.value("promoted_term", uint64_t{0});
  m.rewinding = j.value("rewinding", false);
  m.proven_generation = j.value("proven_generation", uint64_t{0});
  m.proven_size = {j.value("proven_cpu", 0u), j.value("proven_ram_mb", uint64_t{0}),
                   j.value("proven_disk_gb", uint64_t{0})};
  m.refused_generation = j.value("refused_generation", uint64_t{0});
  m.refused_why = j.value("refused_why", std::string());
  return m;
}

ManifestStore::ManifestStore(std::string directory) : directory_(std::move(directory)) {
  make_directory(directory_, 0700);
}

std::vector<Manifest> ManifestStore::read_all() const {
  std::vector<Manifest> out;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    const std::string path = entry.path();
    if (entry.path().extension() != ".json") {
      ::unlink(path.c_str());  // an unfinished write
      continue;
    }
    try {
      Manifest manifest = manifest_from_json(read_file(path).value_or(""));
      if (manifest.node_id != entry.path().stem()) throw std::runtime_error("of another node");
      out.push_back(std::move(manifest));
    } catch (const nlohmann::json::exception& e) {
      // The library's words can quote the text, which has verifiers in it.
      spdlog::error("manifest {} cannot be read (JSON error {})", path, e.id);
    } catch (const std::exception& e) {
      spdlog::error("manifest {} cannot be read: {}", path, e.what());
    }
  }
  return out;
}

void ManifestStore::write(const Manifest& manifest) const {
  write_file_atomically(directory_ + "/" + manifest.node_id + ".json", manifest_to_json(manifest),
                        0600, true);
}

void ManifestStore::forget(const std::string& node_id) const {
  const std::string path = directory_ + "/" + node_id + ".json";
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    throw std::system_error(errno, std::generic_category(), path);
  }
  fsync_path(directory_);
}

}  // namespace trunkline::agent
