// What a node has on its host beside its data: a user of its own, directories, a certificate, who
// is let in; and how it leaves without a trace.
#include <sys/stat.h>
#include <spdlog/spdlog.h>

#include <stdexcept>
#include <system_error>

#include "agent/io/node_actor.h"
#include "agent/io/node_certificate.h"
#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
constexpr std::chrono::hours kCertificateCheck{24};
}  // namespace

// One that was made when nodes still shared a user gets its own as soon as nothing of it runs: a
// new agent restarts no database.
void NodeActor::take_own_user() {
  NodeUsers& users = *context_.users;
  const bool is_due = users.isolates() && !user_.own && !own_user_failed_ &&
                      (exists(paths_.dir) || (manifest_.ensure && !manifest_.remove));
  if (!is_due || seen_.keeper_alive || seen_.postmaster_alive ||
      !postgres_processes_in(paths_.data).empty()) {
    return;
  }
  const NodeUser own = users.allot();
  if (exists(paths_.dir)) {
    try {
      users.remove_home(paths_.socket_dir);
      NodeUsers::give_tree(paths_.dir, own);
    } catch (const std::runtime_error& e) {
      own_user_failed_ = true;
      spdlog::error("node {}: goes on as the shared user {}: {}", manifest_.node_id, user_.name,
                    e.what());
      return;
    }
    spdlog::info("node {}: belongs to user {} now", manifest_.node_id, own.name);
  }
  user_ = own;
  conf_loaded_ = false;
  floor_loaded_ = false;
  box_made_for_.reset();
}

void NodeActor::make_box() {
  telemetry::Span span("ensure node", telemetry::SpanKind::internal,
                       progress_[TaskKind::ensure].traceparent);
  span.set(telemetry::kNodeId, manifest_.node_id);
  context_.users->make_home(paths_.dir, user_, false);
  context_.users->make_home(paths_.socket_dir, user_, true);
  {
    const AsNodeUser rights(user_);
    // Left by a rebuild that was interrupted.
    remove_tree(paths_.incoming);
    if (exists(paths_.data + "/PG_VERSION")) remove_tree(paths_.old);
  }
  certificate_ = ensure_node_certificate({context_.paths.tls_dir, paths_.dir, manifest_.node_id,
                                          context_.host, manifest_.ensure->address.address},
                                         user_);
  certificate_checked_ = Clock::now();
  door_ = "none yet";
  cgroup_procs_ = context_.cgroups->apply(manifest_.node_id, manifest_.ensure->size);
  box_made_for_ = manifest_.ensure;
  observe_door();
}

// Made again in time by whoever runs for years.
void NodeActor::observe_certificate() {
  if (!box_made_for_ || Clock::now() - certificate_checked_ < kCertificateCheck) return;
  box_made_for_.reset();
}

AccessFiles NodeActor::access_files() const {
  const RoleSpec role = manifest_.role.value_or(RoleSpec{});
  // The proxy cannot reach the socket of one that has no user of its own yet.
  const bool without_socket = context_.users->isolates() && !user_.own;
  const Clients clients =
      context_.direct_clients || without_socket ? Clients::direct : Clients::by_proxy;
  const bool is_closed = disk_.state.level() >= DiskLevel::closed;
  return {is_closed ? pg_hba_closed_conf() : pg_hba_conf(clients), pg_hba_closed_conf(),
          pg_ident_conf(context_.agent_user, user_.name, role)};
}

// The standbys' servers and copies; an agent that asks whether the server is there is root, or
// comes from a peer's address.
std::string NodeActor::door() const {
  const RoleSpec role = manifest_.role.value_or(RoleSpec{});
  const bool unknown = role.peers.empty() && !role.standby_node_ids.empty();
  if (context_.direct_clients || unknown) return "";
  std::string out = "uid " + std::to_string(user_.uid) + "\n";
  for (const auto& peer : role.peers) {
    const AgentPaths paths = peer_paths(context_.paths, peer.host);
    // Also one that has no user of its own yet. None, if it is on another machine.
    struct stat info {};
    if (::lstat(node_paths(paths, peer.node_id).dir.c_str(), &info) == 0 && info.st_uid != 0) {
      out += "uid " + std::to_string(info.st_uid) + "\n";
    }
  }
  if (!context_.client_addresses) return out;
  for (const auto& address : *context_.client_addresses) out += "from " + address + "\n";
  for (const auto& peer : role.peers) {
    if (!peer.address.empty()) out += "from " + peer.address + "\n";
  }
  return out;
}

void NodeActor::observe_door() {
  if (!user_.own || !box_made_for_) return;
  const std::string wanted = door();
  if (wanted == door_) return;
  const AsNodeUser rights(user_);
  try {
    write_file_atomically(paths_.door, wanted, 0600, false);
    door_ = wanted;
  } catch (const std::system_error& e) {
    spdlog::warn("node {}: who may knock stays as it was: {}", manifest_.node_id, e.what());
  }
}

void NodeActor::remove_node() {
  telemetry::Span span("remove node", telemetry::SpanKind::internal,
                       progress_[TaskKind::remove].traceparent);
  span.set(telemetry::kNodeId, manifest_.node_id);
  stop_postmaster(seconds(3), seconds(2));
  NodeUsers& users = *context_.users;
  users.end_processes(user_);
  const std::string trash = context_.paths.nodes_dir + "/.trash-" + manifest_.node_id;
  users.remove_home(paths_.socket_dir);
  users.remove_home(trash);
  {
    // The directory of all nodes is root's where each has its own user.
    std::optional<AsNodeUser> rights;
    if (!users.isolates()) rights.emplace(user_);
    if (exists(paths_.dir)) rename_path(paths_.dir, trash);
  }
  context_.cgroups->remove(manifest_.node_id);
  context_.manifests->forget(manifest_.node_id);
  users.remove_home(trash);
  finished_ = true;
  context_.report_changed();
}

}  // namespace trunkline::agent
