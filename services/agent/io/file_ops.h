// Files and directories. All throw std::system_error with the path in it unless said otherwise.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace trunkline::agent {

// The unprivileged user that nodes run as. `switched` is false when the agent runs as that user
// itself (the ordinary mode).
struct NodeUser {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;
  bool switched = false;
  bool own = false;          // of one node only (node_users.h)
  std::string library;  // for PostgreSQL's programs, by which they find the name (preload/)
};
// "" means: the user that runs this process. Throws std::runtime_error if there is no such user,
// or if switching would need rights that this process does not have.
NodeUser find_node_user(const std::string& name);

// While it lives, files that this thread opens, makes and removes are touched with the rights of
// the node's user: a tenant who breaks out into that user cannot lead a privileged agent elsewhere
// by a symbolic link. Per thread; nests.
class AsNodeUser {
 public:
  explicit AsNodeUser(const NodeUser& user);
  ~AsNodeUser();
  AsNodeUser(const AsNodeUser&) = delete;
  AsNodeUser& operator=(const AsNodeUser&) = delete;

 private:
  bool switched_;
  int parent_death_signal_ = 0;
  uid_t old_uid_ = 0;
  gid_t old_gid_ = 0;
};

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

bool exists(const std::string& path);
size_t file_bytes(const std::string& path);                     // 0 if it is not there
bool exists_link(const std::string& path);  // itself, wherever it leads
// Fewer if the file is shorter or not there.
std::string read_at(const std::string& path, uint64_t offset, size_t bytes);
std::optional<std::string> read_file(const std::string& path);  // nothing if it is not there
// The last `bytes` of a file; "" if it is not there.
std::string read_tail(const std::string& path, size_t bytes);
// Temporary file, fsync if `durable`, rename, fsync of the directory if `durable`.
void write_file_atomically(const std::string& path, const std::string& data, mode_t mode,
                           bool durable);
void make_directory(const std::string& path, mode_t mode);  // fine if it is there
// Tells the file system that the directories in `path` have nothing to do with each other, so that
// ext4 lays each into a part of the disk of its own: many files are made fast there also while it
// still passes over what was deleted elsewhere. A hint: nothing happens where it is not known.
void spread_children(const std::string& path);
void rename_path(const std::string& from, const std::string& to);
void remove_tree(const std::string& path);  // fine if it is not there
void fsync_path(const std::string& path);
// Every file and directory below; with them all else of the file system, when that is little.
void fsync_tree(const std::string& path);
// Copies a data directory (regular files and directories). Blocks are shared where the file system
// can; the unused tail of a WAL segment is allocated, not copied.
void copy_data_directory(const std::string& from, const std::string& to);
// Bytes on disk below `path`; files that vanish meanwhile do not count.
uint64_t tree_bytes(const std::string& path);
std::string boot_id();

}  // namespace trunkline::agent
