#include "agent/keeper/lease_cell.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace trunkline::agent {
namespace {

constexpr uint64_t kLayout = 0x746c6c65617365'01;

std::string this_boot() {
  char buffer[40] = {};
  const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  const ssize_t n = ::read(fd, buffer, sizeof buffer - 1);
  ::close(fd);
  return n > 0 ? std::string(buffer) : "";
}

}  // namespace

bool is_voter_list(const std::string& text) {
  return !text.empty() && text.size() <= kLongestVoters &&
         text.find_first_not_of("0123456789abcdef-,") == std::string::npos;
}

LeaseCell* map_lease_cell(const std::string& path) {
  void* memory = MAP_FAILED;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd >= 0 && ::ftruncate(fd, sizeof(LeaseCell)) == 0) {
    memory = ::mmap(nullptr, sizeof(LeaseCell), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  ::close(fd);
  if (memory == MAP_FAILED) {
    memory = ::mmap(nullptr, sizeof(LeaseCell), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                    -1, 0);
  }
  if (memory == MAP_FAILED) ::_exit(1);
  auto* cell = static_cast<LeaseCell*>(memory);
  const std::string boot = this_boot();
  if (cell->layout != kLayout || std::strncmp(cell->boot_id, boot.c_str(), boot.size() + 1) != 0) {
    std::memset(memory, 0, sizeof(LeaseCell));
    std::memcpy(cell->boot_id, boot.c_str(), boot.size() + 1);
    cell->layout = kLayout;
  }
  return cell;
}

void write_guard(LeaseCell& cell, const Guard& guard, bool closed) {
  cell.guarded = Guarded::no;
  cell.term = guard.term;
  cell.need = guard.need;
  const size_t size = std::min(guard.voters.size(), kLongestVoters);
  std::memcpy(cell.voters, guard.voters.data(), size);
  cell.voters[size] = '\0';
  if (guard.on()) cell.guarded = closed ? Guarded::closed : Guarded::yes;
}

Guard read_guard(const LeaseCell& cell) {
  if (cell.guarded == Guarded::no) return {};
  return {cell.term, cell.need, std::string(cell.voters, ::strnlen(cell.voters, kLongestVoters))};
}

int64_t boot_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace trunkline::agent
