#include "lookup/domain/json_writer.h"
#include "lookup/domain/project.h"
#include "lookup/domain/route.h"

namespace trunkline::lookup {
namespace {

constexpr std::string_view kVersions = "/v1/types/postgres/versions/";
constexpr std::string_view kInstances = "/v1/types/postgres/instances/";

std::string_view to_string(Status status) {
  switch (status) {
    case Status::fresh: return "NEW";
    case Status::in_progress: return "IN_PROGRESS";
    case Status::active: return "ACTIVE";
    case Status::error: return "ERROR";
  }
  return "";
}

std::string_view to_string(HostState state) {
  switch (state) {
    case HostState::in_service: return "IN_SERVICE";
    case HostState::draining: return "DRAINING";
    case HostState::lost: return "LOST";
  }
  return "";
}

Status status_of(const NodeView& node) { return node.failed ? Status::error : node.role_status; }

void put_times(JsonWriter& json, TimePoint created_at, TimePoint updated_at) {
  json.text("created_at", format_rfc3339(created_at));
  json.text("updated_at", format_rfc3339(updated_at));
}

void put_error(JsonWriter& json, Status status, const FailureView& failure) {
  if (status != Status::error) return;
  json.begin_object("error");
  json.text("code", failure.code);
  json.text("message", failure.message);
  json.end_object();
}

// live_overlay.cc finds a node by its beginning: uuid first, then host, then role if it has one.
void put_node(JsonWriter& json, const NodeView& node) {
  json.begin_object();
  json.text("uuid", node.id);
  json.text("host", node.host);
  if (node.role != NodeRole::none) {
    json.text("role", node.role == NodeRole::primary ? "primary" : "standby");
  }
  json.text("status", to_string(status_of(node)));
  json.text("zone", node.zone);
  json.text("address", node.address);
  json.number("port", node.port);
  json.end_object();
}

struct Endpoint {
  std::string address;
  uint32_t port = 0;
};
struct Endpoints {
  std::optional<Endpoint> read_write;
  std::optional<Endpoint> read_only;
};

// Reads go to the first standby that streams, else to the primary.
Endpoints nodes_as_endpoints(const InstanceView& view) {
  const auto of_node = [](const NodeView& node) { return Endpoint{node.address, node.port}; };
  Endpoints found;
  for (const NodeView& node : view.nodes) {
    if (status_of(node) != Status::active) continue;
    if (node.role == NodeRole::primary) found.read_write = of_node(node);
    if (node.role == NodeRole::standby && !node.leaving && !found.read_only) {
      found.read_only = of_node(node);
    }
  }
  if (!found.read_only) found.read_only = found.read_write;
  return found;
}

// The proxies' never move, whoever is primary and whether there is one.
Endpoints endpoints_of(const InstanceView& view, const Rendering& rendering) {
  if (rendering.endpoint_address.empty()) return nodes_as_endpoints(view);
  // One that was ordered when no port was left: it is reached by its name on the shared port only.
  if (view.read_write_port == 0 || view.read_only_port == 0) return {};
  return {Endpoint{rendering.endpoint_address, view.read_write_port},
          Endpoint{rendering.endpoint_address, view.read_only_port}};
}

bool is_v6(const std::string& address) { return address.find(':') != std::string::npos; }

void put_endpoint(JsonWriter& json, std::string_view name, const Endpoint& endpoint) {
  const std::string& address = endpoint.address;
  json.begin_object(name);
  json.text("host", address);
  json.number("port", endpoint.port);
  json.text("uri", "postgresql://" + (is_v6(address) ? "[" + address + "]" : address) + ":" +
                       std::to_string(endpoint.port) + "/");
  json.end_object();
}

void put_endpoints(JsonWriter& json, const Endpoints& endpoints) {
  json.begin_array("ipsv4");
  std::string before;
  for (const auto& endpoint : {endpoints.read_write, endpoints.read_only}) {
    if (!endpoint || endpoint->address.empty() || is_v6(endpoint->address)) continue;
    if (endpoint->address != before) json.element(endpoint->address);
    before = endpoint->address;
  }
  json.end_array();
  if (!endpoints.read_only) return;
  json.begin_object("endpoints");
  if (endpoints.read_write) put_endpoint(json, "read_write", *endpoints.read_write);
  put_endpoint(json, "read_only", *endpoints.read_only);
  json.end_object();
}

std::string_view to_string(FailoverKind kind) {
  switch (kind) {
    case FailoverKind::failover: return "failover";
    case FailoverKind::switchover: return "switchover";
    case FailoverKind::override_: return "override";
  }
  return "";
}

void put_failover(JsonWriter& json, const FailoverView& failover) {
  json.begin_object("failover");
  json.text("since", format_rfc3339(failover.since));
  json.text("kind", to_string(failover.kind));
  if (!failover.from.empty()) json.text("from", failover.from);
  json.text("rule", failover.rule);
  json.text("why", failover.why);
  json.end_object();
}

// Known once there was a primary.
void put_writes(JsonWriter& json, const InstanceView& view) {
  if (view.term == 0) return;
  const auto& failover = view.failover ? view.failover : view.refused;
  json.begin_object("writes");
  json.boolean("possible", !failover && !view.writes_stopped);
  if (failover) {
    json.text("since", format_rfc3339(failover->since));
    json.text("why", "failover");
  } else if (view.writes_stopped) {
    json.text("since", format_rfc3339(view.writes_stopped->since));
    json.text("why", view.writes_stopped->why);
  }
  json.end_object();
}

std::string instance_json(const InstanceView& view, const Rendering& rendering) {
  std::string out;
  out.reserve(800 + 220 * view.nodes.size());
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", view.id);
  json.text("name", view.name);
  json.text("description", view.description);
  json.text("project_id", view.project_id);
  put_times(json, view.created_at, view.updated_at);
  json.text("status", to_string(view.status));
  json.number("cpu", view.cpu);
  json.number("ram", view.ram_mb);
  json.number("disk_size", view.disk_gb);
  json.number("nodes_number", view.nodes_number);
  json.number("sync_replica_number", view.sync_replica_number);
  json.reference("version", kVersions, view.version_id);
  put_endpoints(json, endpoints_of(view, rendering));
  json.number("term", view.term);
  if (view.failover) put_failover(json, *view.failover);
  if (!view.failover && view.refused) put_failover(json, *view.refused);
  put_writes(json, view);
  json.begin_array("nodes");
  for (const NodeView& node : view.nodes) put_node(json, node);
  json.end_array();
  put_error(json, view.status, view.failure);
  json.end_object();
  return out;
}

std::string user_json(const InstanceView& view, const UserView& user) {
  std::string out;
  out.reserve(500);
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", user.id);
  json.text("name", user.name);
  json.text("description", user.description);
  json.text("project_id", view.project_id);
  json.reference("instance", kInstances, view.id);
  json.text("status", to_string(user.status));
  put_times(json, user.created_at, user.updated_at);
  put_error(json, user.status, user.failure);
  json.end_object();
  return out;
}

std::string database_json(const InstanceView& view, const DatabaseView& database) {
  std::string out;
  out.reserve(600);
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", database.id);
  json.text("name", database.name);
  json.text("description", database.description);
  json.text("project_id", view.project_id);
  json.reference("instance", kInstances, view.id);
  json.reference("owner", std::string(kInstances) + view.id + "/users/", database.owner_id);
  json.text("locale", database.locale.empty() ? "C.UTF-8" : database.locale);
  json.text("encoding", database.encoding.empty() ? "UTF8" : database.encoding);
  if (!database.icu_locale.empty()) json.text("icu_locale", database.icu_locale);
  json.text("status", to_string(database.status));
  put_times(json, database.created_at, database.updated_at);
  put_error(json, database.status, database.failure);
  json.end_object();
  return out;
}

std::string version_json(const VersionView& view) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", view.id);
  json.text("name", view.name);
  json.text("description", view.description);
  json.text("image", view.image);
  put_times(json, view.created_at, view.updated_at);
  json.end_object();
  return out;
}

std::string host_json(const HostView& view) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", view.id);
  json.text("name", view.name);
  json.text("zone", view.zone);
  json.text("address", view.address);
  json.number("cpu", view.cpu);
  json.number("ram", view.ram_mb);
  json.number("disk_size", view.disk_gb);
  json.begin_array("images");
  for (const std::string& image : view.images) json.element(image);
  json.end_array();
  json.boolean("schedulable", view.schedulable);
  json.text("state", to_string(view.state));
  put_times(json, view.created_at, view.updated_at);
  json.end_object();
  return out;
}

std::string token_json(const TokenView& view) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", view.id);
  json.text("name", view.name);
  json.text("role", view.role);
  if (!view.project_id.empty()) json.text("project_id", view.project_id);
  if (view.expires_unix_us != 0) {
    json.text("expires_at", format_rfc3339(from_unix_us(view.expires_unix_us)));
  }
  put_times(json, view.created_at, view.created_at);
  json.end_object();
  return out;
}

std::string quota_json(const QuotaView& view) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("uuid", view.id);
  json.text("project_id", view.id);
  json.number("instances", view.instances);
  json.number("cpu", view.cpu);
  json.number("ram", view.ram_mb);
  json.number("disk_size", view.disk_gb);
  put_times(json, view.created_at, view.updated_at);
  json.end_object();
  return out;
}

std::optional<Document> document_of(const InstanceView& view, const DocKey& key,
                                    const Rendering& rendering) {
  if (!view.created || view.deleted) return std::nullopt;
  const auto of_instance = [&](TimePoint created_at, std::string json) {
    return Document{key, view.project_id, created_at, {}, std::move(json)};
  };
  if (key.kind == DocKind::instance) {
    return of_instance(view.created_at, instance_json(view, rendering));
  }
  if (key.kind == DocKind::route) {
    return of_instance(view.created_at, stored_route(route_of(view)));
  }
  if (key.kind == DocKind::user) {
    for (const UserView& user : view.users) {
      if (user.id == key.uuid) return of_instance(user.created_at, user_json(view, user));
    }
  }
  if (key.kind == DocKind::database) {
    for (const DatabaseView& database : view.databases) {
      if (database.id == key.uuid) {
        return of_instance(database.created_at, database_json(view, database));
      }
    }
  }
  return std::nullopt;
}

std::optional<Document> document_of(const VersionView& view, const DocKey& key, const Rendering&) {
  if (!view.created || view.deleted) return std::nullopt;
  return Document{key, {}, view.created_at, {}, version_json(view)};
}

std::optional<Document> document_of(const HostView& view, const DocKey& key, const Rendering&) {
  if (!view.registered) return std::nullopt;
  return Document{key, {}, view.created_at, {}, host_json(view)};
}

std::optional<Document> document_of(const TokenView& view, const DocKey& key, const Rendering&) {
  if (!view.created || view.revoked) return std::nullopt;
  return Document{key, view.project_id, view.created_at, view.sha256, token_json(view)};
}

std::optional<Document> document_of(const QuotaView& view, const DocKey& key, const Rendering&) {
  if (!view.is_set) return std::nullopt;
  return Document{key, view.id, view.created_at, {}, quota_json(view)};
}

}  // namespace

std::optional<Document> render(const View& view, const DocKey& key, const Rendering& rendering) {
  return std::visit([&](const auto& v) { return document_of(v, key, rendering); }, view);
}

std::vector<DocKey> document_keys(const View& view) {
  std::vector<DocKey> keys;
  const auto one = [&](bool there, DocKind kind, const std::string& id) {
    if (there) keys.push_back({kind, id});
  };
  if (const auto* instance = std::get_if<InstanceView>(&view)) {
    if (!instance->created || instance->deleted) return keys;
    keys.push_back({DocKind::instance, instance->id});
    keys.push_back({DocKind::route, instance->id});
    for (const UserView& user : instance->users) {
      keys.push_back({DocKind::user, user.id, instance->id});
    }
    for (const DatabaseView& db : instance->databases) {
      keys.push_back({DocKind::database, db.id, instance->id});
    }
  } else if (const auto* version = std::get_if<VersionView>(&view)) {
    one(version->created && !version->deleted, DocKind::version, version->id);
  } else if (const auto* host = std::get_if<HostView>(&view)) {
    one(host->registered, DocKind::host, host->id);
  } else if (const auto* token = std::get_if<TokenView>(&view)) {
    one(token->created && !token->revoked, DocKind::token, token->id);
  } else if (const auto* quota = std::get_if<QuotaView>(&view)) {
    one(quota->is_set, DocKind::quota, quota->id);
  }
  return keys;
}

}  // namespace trunkline::lookup
