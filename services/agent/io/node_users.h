// The operating system's users that nodes run as: one a node, so that who breaks out of a database
// reads nothing of another tenant's, of the host's or of the services'.
//
// The users are numbers from a range of the host's own; they have no entry in the password
// database. A node's user is the owner of its directory, which is given last, so that nothing needs
// to be remembered and what was interrupted is done again. Thread-safe.
#pragma once

#include <mutex>
#include <string>

#include "agent/io/file_ops.h"

namespace trunkline::agent {

struct UidRange {
  uid_t first = 0;
  uint32_t count = 0;  // 0: nodes share the one user
};

struct NodeUsersOptions {
  std::string shared_user;   // of templates; of all nodes without a range. "": the agent's own
  UidRange range;            // needs an agent that is root
  std::string client_group;  // may reach the nodes' sockets: the proxy's. "": nobody else
  std::string library;       // gives a number its name (preload/)
  std::string nodes_dir;
  std::string counter_file;  // in a directory of the agent's
};

class NodeUsers {
 public:
  // Throws std::runtime_error with what set-up must put right.
  explicit NodeUsers(NodeUsersOptions options);
  // Makes allot() quick from the first one on.
  void start();
  bool isolates() const { return options_.range.count > 0; }
  // Why nodes are not users apart; "" if they are. `sandboxed`: files are hidden from them.
  std::string note(bool sandboxed) const;
  const NodeUser& shared() const { return shared_; }
  // The user of a node whose directory this is; shared() if it is not there, or was made when nodes
  // still shared one.
  NodeUser owner_of(const std::string& node_dir) const;
  // One that no other node has or had, until the whole range has been through.
  NodeUser allot();

  // A node's own directory, entered by nobody else but the agent; `for_clients`: also by the
  // proxy's group, to what is open to a group in it. Fine if it is there. Throws std::system_error.
  void make_home(const std::string& path, const NodeUser& user, bool for_clients) const;
  // With all that is in it; fine if it is not there. No process of the node may be left.
  void remove_home(const std::string& path) const;
  // Gives everything below `path` and then itself to `user`. No process of the node may be left.
  // Throws if a file has a name elsewhere: it is not only the node's.
  static void give_tree(const std::string& path, const NodeUser& user);
  // Ends every process of a node's own user, whatever has become of it.
  void end_processes(const NodeUser& user) const;

 private:
  NodeUser numbered(uid_t uid) const;
  bool in_range(uid_t uid) const;
  bool has_node(uid_t uid) const;
  void reserve();

  NodeUsersOptions options_;
  NodeUser shared_;
  gid_t client_gid_ = 0;
  std::mutex mutex_;
  uint64_t next_ = 0;      // counts allotments since ever
  uint64_t reserved_ = 0;  // those below are written down: none is given again after a restart
};

}  // namespace trunkline::agent
