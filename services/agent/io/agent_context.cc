#include "agent/io/agent_context.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestSocketPath = 107;

void make_owned(const std::string& path, const NodeUser& user) {
  fs::create_directories(fs::path(path).parent_path());
  make_directory(path, 0700);
  if (user.switched && ::chown(path.c_str(), user.uid, user.gid) != 0) {
    throw std::system_error(errno, std::generic_category(), path);
  }
}

}  // namespace

AgentPaths agent_paths(const std::string& home, const std::string& host,
                       const std::string& socket_dir) {
  const std::string base = fs::weakly_canonical(home).string() + "/hosts/" + host;
  AgentPaths paths{base,
                   base + "/tls",
                   base + "/nodes",
                   base + "/templates",
                   base + "/manifests",
                   base + "/counters",
                   fs::weakly_canonical(socket_dir).string() + "/" + host};
  const std::string longest =
      paths.sockets_dir + "/00000000-0000-0000-0000-000000000000/.s.PGSQL.65535";
  if (longest.size() > kLongestSocketPath) {
    throw std::runtime_error("socket_dir: " + longest + " is longer than a socket's path may be");
  }
  return paths;
}

void make_agent_directories(const AgentPaths& paths, const NodeUsers& users) {
  const NodeUser& shared = users.shared();
  fs::create_directories(paths.host_dir);
  make_owned(paths.templates_dir, shared);
  for (const auto& path : {paths.nodes_dir, paths.sockets_dir}) {
    if (!users.isolates()) {
      make_owned(path, shared);
      continue;
    }
    // Each node's user passes to its own, and sees no other's name.
    make_directory(path, 0711);
    if (::lchown(path.c_str(), ::geteuid(), ::getegid()) != 0 ||
        ::chmod(path.c_str(), 0711) != 0) {
      throw std::system_error(errno, std::generic_category(), path);
    }
  }
  spread_children(paths.nodes_dir);
  for (const char* file : {"/ca.crt", "/issuer.crt", "/issuer.key"}) {
    if (!read_file(paths.tls_dir + file)) {
      throw std::runtime_error(paths.tls_dir + file + " is missing");
    }
  }
  const AsNodeUser rights(shared);
  const std::string probe = paths.templates_dir + "/.probe";
  make_directory(probe, 0700);
  ::rmdir(probe.c_str());
  for (const auto& path : {paths.nodes_dir, paths.sockets_dir}) {
    if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
      throw std::system_error(errno, std::generic_category(), path);
    }
  }
}

AgentPaths peer_paths(const AgentPaths& agent, const std::string& host) {
  AgentPaths out;
  out.host_dir = fs::path(agent.host_dir).parent_path() / host;
  out.nodes_dir = out.host_dir + "/nodes";
  return out;
}

NodePaths node_paths(const AgentPaths& agent, const std::string& node_id) {
  const std::string dir = agent.nodes_dir + "/" + node_id;
  const std::string sockets = agent.sockets_dir + "/" + node_id;
  return {dir,
          dir + "/data",
          dir + "/data.new",
          dir + "/data.old",
          dir + "/postgres.log",
          dir + "/keeper.pid",
          sockets,
          sockets + "/keeper.sock",
          dir + "/upstream.key",
          dir + "/forked",
          dir + "/tls",
          dir + "/door",
          dir + "/guard.so"};
}

}  // namespace trunkline::agent
