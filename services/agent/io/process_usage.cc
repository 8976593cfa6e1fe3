#include "agent/io/process_usage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "agent/io/file_ops.h"
#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

std::string text_of(const std::string& path) {
  try {
    return read_file(path).value_or("");
  } catch (const std::exception&) {
    return "";  // a process that has just ended, or one that may not be looked at
  }
}

std::string proc(pid_t pid, const char* file) {
  return text_of("/proc/" + std::to_string(pid) + "/" + file);
}

// The number behind `name` at the beginning of a line; nothing if there is none.
std::optional<uint64_t> field(const std::string& text, const std::string& name) {
  size_t at = text.starts_with(name) ? 0 : text.find("\n" + name);
  if (at == std::string::npos) return std::nullopt;
  at = text.find(name, at) + name.size();
  return std::strtoull(text.c_str() + at, nullptr, 10);
}

struct CpuTicks {
  uint64_t own = 0;
  uint64_t reaped = 0;  // of children that have ended
};

CpuTicks cpu_ticks(pid_t pid) {
  const std::string stat = proc(pid, "stat");
  const size_t close = stat.rfind(')');
  if (close == std::string::npos) return {};
  std::istringstream in(stat.substr(close + 1));
  std::string skipped;
  for (int i = 3; i < 14; ++i) in >> skipped;
  uint64_t user = 0, system = 0, reaped_user = 0, reaped_system = 0;
  in >> user >> system >> reaped_user >> reaped_system;
  return {user + system, reaped_user + reaped_system};
}

uint64_t to_ms(uint64_t ticks) {
  static const long per_second = std::max(::sysconf(_SC_CLK_TCK), 1l);
  return ticks * 1000 / static_cast<uint64_t>(per_second);
}

std::string group_source(const std::string& cgroup) {
  struct stat st {};
  if (::stat(cgroup.c_str(), &st) != 0) return "";
  return "group:" + boot_id() + ":" + std::to_string(st.st_ino) + ":" +
         std::to_string(st.st_ctim.tv_sec);
}

// "8:0 rbytes=1 wbytes=2 …", a line a device.
uint64_t sum_of(const std::string& text, const std::string& key) {
  uint64_t sum = 0;
  for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + 1)) {
    sum += std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
  }
  return sum;
}

void read_group(const std::string& cgroup, ProcessUsage& out) {
  const std::string source = group_source(cgroup);
  if (source.empty()) return;
  if (const auto us = field(text_of(cgroup + "/cpu.stat"), "usage_usec ")) {
    out.cpu_ms = {source, *us / 1000};
  }
  const std::string io = text_of(cgroup + "/io.stat");
  if (io.empty()) return;
  out.read_bytes = {source, sum_of(io, "rbytes=")};
  out.write_bytes = {source, sum_of(io, "wbytes=")};
}

}  // namespace

ProcessUsage process_usage(int postmaster_pid, const std::string& cgroup) {
  ProcessUsage out;
  if (!cgroup.empty()) read_group(cgroup, out);
  const uint64_t started = postmaster_pid > 0 ? process_start_ticks(postmaster_pid) : 0;
  if (started == 0) return out;
  // The postmaster first: who ends in between is missing once and there the next time.
  std::vector<pid_t> pids = {postmaster_pid};
  const CpuTicks own = cpu_ticks(postmaster_pid);
  const std::string own_io = proc(postmaster_pid, "io");
  uint64_t ticks = own.own + own.reaped;
  uint64_t read = field(own_io, "read_bytes: ").value_or(0);
  uint64_t written = field(own_io, "write_bytes: ").value_or(0);
  uint64_t anonymous_kb = 0, shared_kb = 0;
  for (const pid_t child : children_of(postmaster_pid)) pids.push_back(child);
  for (const pid_t pid : pids) {
    const std::string status = proc(pid, "status");
    anonymous_kb += field(status, "RssAnon:").value_or(0);
    shared_kb = std::max(shared_kb, field(status, "RssShmem:").value_or(0) +
                                        field(status, "RssFile:").value_or(0));
    if (pid == postmaster_pid) continue;
    ticks += cpu_ticks(pid).own;
    const std::string io = proc(pid, "io");
    read += field(io, "read_bytes: ").value_or(0);
    written += field(io, "write_bytes: ").value_or(0);
  }
  out.rss_mb = (anonymous_kb + shared_kb + 1023) >> 10;
  const std::string source = "postmaster:" + boot_id() + ":" + std::to_string(postmaster_pid) +
                             ":" + std::to_string(started);
  if (out.cpu_ms.source.empty()) out.cpu_ms = {source, to_ms(ticks)};
  if (out.read_bytes.source.empty() && !own_io.empty()) {
    out.read_bytes = {source, read};
    out.write_bytes = {source, written};
  }
  return out;
}

MachineUsage machine_usage() {
  MachineUsage out;
  std::istringstream stat(text_of("/proc/stat"));
  std::string word;
  uint64_t user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0;
  stat >> word >> user >> nice >> system >> idle >> wait >> irq >> softirq;
  out.cpu_busy_ms = to_ms(user + nice + system + irq + softirq);
  const std::string memory = text_of("/proc/meminfo");
  out.memory_mb = field(memory, "MemTotal:").value_or(0) >> 10;
  out.memory_available_mb = field(memory, "MemAvailable:").value_or(0) >> 10;
  out.load_1m = std::strtod(text_of("/proc/loadavg").c_str(), nullptr);
  return out;
}

}  // namespace trunkline::agent
