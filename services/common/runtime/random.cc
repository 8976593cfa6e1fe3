#include "runtime/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

#include "base/ids.h"

namespace trunkline::runtime {

std::string random_bytes(size_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    const ssize_t got = getrandom(bytes.data() + filled, count - filled, 0);
    if (got >= 0) {
      filled += static_cast<size_t>(got);
    } else if (errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
  }
  return bytes;
}

std::string new_uuid() {
  unsigned char bytes[16];
  const std::string random = random_bytes(sizeof bytes);
  std::memcpy(bytes, random.data(), sizeof bytes);
  return uuid_from_random(bytes);
}

TimePoint now() {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

namespace {

std::chrono::microseconds boot_time() {
  timespec at{};
  clock_gettime(CLOCK_BOOTTIME, &at);
  return std::chrono::seconds(at.tv_sec) +
         std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::nanoseconds(at.tv_nsec));
}

}  // namespace

TimePoint monotonic_now() {
  static const TimePoint zero = now() - boot_time();
  return zero + boot_time();
}

}  // namespace trunkline::runtime
