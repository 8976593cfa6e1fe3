#include "supervisor/io/log_rotation.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace trunkline::supervisor {

bool rotate_if_larger(const std::string& path, int64_t limit_bytes) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= limit_bytes) {
    return false;
  }
  std::error_code error;
  std::filesystem::copy_file(path, path + ".1", std::filesystem::copy_options::overwrite_existing,
                             error);
  // A full disk must not stop the file from being emptied: that is what makes room again.
  return truncate(path.c_str(), 0) == 0;
}

}  // namespace trunkline::supervisor
