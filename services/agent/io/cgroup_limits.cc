#include "agent/io/cgroup_limits.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <thread>

#include "agent/domain/memory_rules.h"
#include "agent/io/file_ops.h"
#include "base/digest.h"

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;

bool write_value(const std::string& path, const std::string& value) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.valid() &&
         ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

bool make_path(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return !error;
}

// "<number>:<controllers>:<path>": the path of `controller`; v2 has the empty one.
std::string own_path(const std::string& own_groups, const std::string& controller) {
  std::istringstream lines(own_groups);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool fits = controller.empty() ? names == ",,"
                                         : names.find("," + controller + ",") != std::string::npos;
    const std::string path = line.substr(second + 1);
    if (fits) return path == "/" || path.find("..") != std::string::npos ? "" : path;
  }
  return "";
}

// From the top down to `directory`, …/trunkline/<home hash>. Where that failed, or "".
std::string pass_on(const std::string& directory) {
  const fs::path all = fs::path(directory).parent_path();
  for (const std::string& step : {all.parent_path().string(), all.string(), directory}) {
    if (!write_value(step + "/cgroup.subtree_control", "+cpu +memory")) return step;
  }
  return "";
}

}  // namespace

CgroupLimits::CgroupLimits(const std::string& root, const std::string& own_groups,
                           const std::string& home) {
  const std::string name = "trunkline/" + hex(sha256(home)).substr(0, 12);
  if (exists(root + "/cgroup.controllers")) {
    find_v2(root, own_groups, name);
  } else {
    find_v1(root, own_groups, name);
  }
  enforced_ = !places_.empty() && note_.empty();
  if (!enforced_) places_.clear();
}

void CgroupLimits::find_v1(const std::string& root, const std::string& own_groups,
                           const std::string& name) {
  for (const char* controller : {"cpu", "memory"}) {
    const std::string base = root + "/" + controller;
    if (!exists(base + "/cgroup.procs")) {
      note_ = std::string("the machine has no cgroup controller ") + controller;
      return;
    }
    const std::string directory = base + own_path(own_groups, controller) + "/" + name;
    if (!make_path(directory) || ::access(directory.c_str(), W_OK) != 0) {
      note_ = "no right to make groups in " + base;
      return;
    }
    places_.push_back({controller, directory});
  }
}

void CgroupLimits::find_v2(const std::string& root, const std::string& own_groups,
                           const std::string& name) {
  // A group with processes in it cannot pass controllers on; root starts at the top instead.
  std::string base = ::geteuid() == 0 ? root : root + own_path(own_groups, "");
  const std::string directory = base + "/" + name;
  if (!make_path(directory)) {
    note_ = "no right to make groups in " + base;
    return;
  }
  if (const std::string step = pass_on(directory); !step.empty()) {
    note_ = "cpu and memory cannot be passed on in " + step + " (" + std::strerror(errno) + ")";
    return;
  }
  places_.push_back({"", directory});
}

void CgroupLimits::limit_host(uint64_t host_ram_mb) {
  const std::lock_guard lock(mutex_);
  host_limit_mb_ = host_limit_mb(host_ram_mb);
  for (const Place& place : places_) make_host_group(place);
}

// Also where the removal of the last node has taken it.
void CgroupLimits::make_host_group(const Place& place) const {
  if (!make_path(place.directory)) return;
  if (place.controller.empty()) pass_on(place.directory);
  if (place.controller == "cpu" || host_limit_mb_ == 0) return;
  const std::string bytes = std::to_string(host_limit_mb_ << 20);
  if (place.controller.empty()) {
    write_value(place.directory + "/memory.max", bytes);
    return;
  }
  // Older kernels count what is below a group only where they are told to.
  write_value(place.directory + "/memory.use_hierarchy", "1");
  write_value(place.directory + "/memory.limit_in_bytes", bytes);
}

std::vector<std::string> CgroupLimits::apply(const std::string& node_id, const NodeSize& size) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> procs;
  uint64_t limit_mb = node_limit_mb(size.ram_mb);
  if (host_limit_mb_ > 0) limit_mb = std::min(limit_mb, host_limit_mb_);
  for (const Place& place : places_) {
    make_host_group(place);
    const std::string group = place.directory + "/" + node_id;
    if (!make_path(group)) continue;
    const std::string quota_us = std::to_string(uint64_t{size.cpu} * 100'000);
    const std::string bytes = std::to_string(limit_mb << 20);
    if (place.controller == "cpu") {
      write_value(group + "/cpu.cfs_period_us", "100000");
      write_value(group + "/cpu.cfs_quota_us", quota_us);
    } else if (place.controller == "memory") {
      write_value(group + "/memory.limit_in_bytes", bytes);
    } else {
      write_value(group + "/cpu.max", quota_us + " 100000");
      write_value(group + "/memory.max", bytes);
    }
    procs.push_back(group + "/cgroup.procs");
  }
  return procs;
}

std::string CgroupLimits::usage_directory(const std::string& node_id) const {
  const std::lock_guard lock(mutex_);
  for (const Place& place : places_) {
    const std::string group = place.directory + "/" + node_id;
    if (place.controller.empty() && exists(group + "/cpu.stat")) return group;
  }
  return "";
}

void CgroupLimits::remove(const std::string& node_id) {
  const std::lock_guard lock(mutex_);
  for (const Place& place : places_) {
    const std::string group = place.directory + "/" + node_id;
    for (int i = 0; i < 100 && ::rmdir(group.c_str()) != 0 && errno == EBUSY; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    // The parents go with their last child.
    if (::rmdir(place.directory.c_str()) == 0) {
      ::rmdir(fs::path(place.directory).parent_path().c_str());
    }
  }
}

}  // namespace trunkline::agent
