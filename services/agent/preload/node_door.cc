// Loaded into a node's postmaster: who may knock at its port. PostgreSQL counts a connection from
// the moment it is accepted, whoever it is, so that a few hundred silent ones keep everybody out;
// here those that nobody expects are closed before it sees them.
//
// The file that TRUNKLINE_NODE_DOOR names has a line for each who is expected: "uid <number>", of
// processes of this machine (root always is, a few times a second: agents ask whether the server
// is there), and "from <IPv4 address>", of other machines. With no line "uid", or no line "from",
// all of that kind are; without the file all are. Read again when it has changed. The postmaster
// has one thread.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int kMost = 256;  // lines of a kind
constexpr int kTurns = 512;  // that are turned away at once
constexpr unsigned char kEstablished = 1;
constexpr long kRootAtOnce = 32;
constexpr long kRootPerSecond = 4;

struct Door {
  timespec changed{};
  ino_t inode = 0;
  int uids = 0;
  int addresses = 0;
  uid_t uid[kMost];
  in_addr_t from[kMost];
};
Door door;

void read_line(const char* line) {
  char address[INET_ADDRSTRLEN] = "";
  unsigned uid = 0;
  in_addr from{};
  if (sscanf(line, "uid %u", &uid) == 1 && door.uids < kMost) {
    door.uid[door.uids++] = uid;
  } else if (sscanf(line, "from %15s", address) == 1 && inet_pton(AF_INET, address, &from) == 1 &&
             door.addresses < kMost) {
    door.from[door.addresses++] = from.s_addr;
  }
}

void look_at(const char* path) {
  struct stat info {};
  if (stat(path, &info) != 0) {
    door = {};
    return;
  }
  if (info.st_ino == door.inode && info.st_mtim.tv_sec == door.changed.tv_sec &&
      info.st_mtim.tv_nsec == door.changed.tv_nsec) {
    return;
  }
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  door = {};
  door.inode = info.st_ino;
  door.changed = info.st_mtim;
  static char text[2 * kMost * 24];
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  text[size > 0 ? size : 0] = '\0';
  char* rest = nullptr;
  for (char* line = strtok_r(text, "\n", &rest); line; line = strtok_r(nullptr, "\n", &rest)) {
    read_line(line);
  }
}

bool root_may_come() {
  static long tokens = kRootAtOnce;
  static time_t filled = 0;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const long earned = (now.tv_sec - filled) * kRootPerSecond;
  if (earned > 0) {
    tokens = earned < kRootAtOnce - tokens ? tokens + earned : kRootAtOnce;
    filled = now.tv_sec;
  }
  return tokens > 0 && tokens-- > 0;
}

enum class Found { no, yes, unknown };
struct Other {
  Found found = Found::unknown;
  uid_t uid = 0;
  bool alive = false;
};

// The socket at the connection's other end, if it is one of this machine's (network namespace).
Other other_end(const sockaddr_in& here, const sockaddr_in& there) {
  Other out;
  const int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return out;
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } ask{};
  ask.header.nlmsg_len = sizeof ask;
  ask.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  ask.header.nlmsg_flags = NLM_F_REQUEST;
  ask.request.sdiag_family = AF_INET;
  ask.request.sdiag_protocol = IPPROTO_TCP;
  ask.request.idiag_states = ~0u;
  ask.request.id.idiag_sport = there.sin_port;
  ask.request.id.idiag_dport = here.sin_port;
  ask.request.id.idiag_src[0] = there.sin_addr.s_addr;
  ask.request.id.idiag_dst[0] = here.sin_addr.s_addr;
  ask.request.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  ask.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  alignas(nlmsghdr) char answer[4096];
  pollfd ready{fd, POLLIN, 0};
  ssize_t size = -1;
  if (send(fd, &ask, sizeof ask, 0) == static_cast<ssize_t>(sizeof ask) &&
      poll(&ready, 1, 100) == 1) {
    size = recv(fd, answer, sizeof answer, 0);
  }
  close(fd);
  if (size < static_cast<ssize_t>(sizeof(nlmsghdr))) return out;
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer);
  if (header->nlmsg_type == NLMSG_ERROR) {
    const auto* error = reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(header));
    if (error->error == -ENOENT) out.found = Found::no;
    return out;
  }
  if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY) return out;
  const auto* socket_info = reinterpret_cast<const inet_diag_msg*>(NLMSG_DATA(header));
  // The lookup falls back on listeners of that port.
  if (socket_info->id.idiag_dport != here.sin_port) {
    out.found = Found::no;
    return out;
  }
  out.found = Found::yes;
  out.uid = socket_info->idiag_uid;
  out.alive = socket_info->idiag_state == kEstablished && socket_info->idiag_inode != 0;
  return out;
}

bool is_expected(int fd, const sockaddr* peer, socklen_t size) {
  if (size < sizeof(sockaddr_in) || peer->sa_family != AF_INET) return true;
  if (door.uids == 0 && door.addresses == 0) return true;
  sockaddr_in here{};
  socklen_t here_size = sizeof here;
  sockaddr_in there{};
  memcpy(&there, peer, sizeof there);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&here), &here_size) != 0) return true;
  const Other other = other_end(here, there);
  if (other.found == Found::unknown) return true;
  if (other.found == Found::yes) {
    if (door.uids == 0) return true;
    if (!other.alive) return false;  // whose it was cannot be told, and it is gone
    for (int i = 0; i < door.uids; ++i) {
      if (door.uid[i] == other.uid) return true;
    }
    return other.uid == 0 && root_may_come();
  }
  if (door.addresses == 0) return true;
  for (int i = 0; i < door.addresses; ++i) {
    if (door.from[i] == there.sin_addr.s_addr) return true;
  }
  return false;
}

// A connection that has ended already: a failure would make the postmaster sleep.
int ended_connection(sockaddr* address, socklen_t* size) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return -1;
  close(ends[1]);
  sockaddr_in nobody{};
  nobody.sin_family = AF_INET;
  const socklen_t room = *size < sizeof nobody ? *size : sizeof nobody;
  memcpy(address, &nobody, room);
  *size = room;
  return ends[0];
}

}  // namespace

extern "C" int accept(int listener, sockaddr* address, socklen_t* size) {
  using Function = int (*)(int, sockaddr*, socklen_t*);
  static const auto usual = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "accept"));
  if (usual == nullptr) {
    errno = ENOSYS;
    return -1;
  }
  const char* path = getenv("TRUNKLINE_NODE_DOOR");
  if (path == nullptr || address == nullptr || size == nullptr) {
    return usual(listener, address, size);
  }
  const socklen_t room = *size;
  for (int turn = 0; turn < kTurns; ++turn) {
    *size = room;
    const int fd = usual(listener, address, size);
    if (fd < 0) return fd;
    if (turn == 0) look_at(path);
    if (is_expected(fd, address, *size)) return fd;
    close(fd);
    pollfd waiting{listener, POLLIN, 0};
    if (poll(&waiting, 1, 0) != 1) break;
  }
  *size = room;
  return ended_connection(address, size);
}
