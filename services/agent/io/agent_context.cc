#include "agent/io/agent_context.h"

#include <unistd.h>

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

void make_agent_directories(const AgentPaths& paths, const NodeUser& user) {
  fs::create_directories(paths.host_dir);
  make_owned(paths.nodes_dir, user);
  make_owned(paths.templates_dir, user);
  make_owned(paths.sockets_dir, user);
  spread_children(paths.nodes_dir);
  const AsNodeUser rights(user);
  for (const auto& path : {paths.nodes_dir, paths.templates_dir, paths.sockets_dir}) {
    const std::string probe = path + "/.probe";
    make_directory(probe, 0700);
    ::rmdir(probe.c_str());
  }
  if (!read_file(paths.tls_dir + "/host.key")) {
    throw std::runtime_error(paths.tls_dir + "/host.key is missing");
  }
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
          dir + "/forked"};
}

}  // namespace trunkline::agent
