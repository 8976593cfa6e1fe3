// A node's disk: what the watch says of it, and whether clients can write.
#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <unistd.h>

#include "agent/io/node_actor.h"

namespace trunkline::agent {
namespace {

constexpr int64_t kFullFor_us = 1'000'000;        // before it is said
constexpr int64_t kUnconfirmedFor_us = 10'000'000;

int64_t now_unix_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

v1::DiskLevel to_proto(DiskLevel level) {
  switch (level) {
    case DiskLevel::roomy:
      return v1::DISK_LEVEL_ROOMY;
    case DiskLevel::near_full:
      return v1::DISK_LEVEL_NEAR_FULL;
    case DiskLevel::full:
      return v1::DISK_LEVEL_FULL;
    case DiskLevel::closed:
      return v1::DISK_LEVEL_CLOSED;
    case DiskLevel::stopped:
      return v1::DISK_LEVEL_STOPPED;
  }
  return v1::DISK_LEVEL_UNSPECIFIED;
}

std::string message_of(const DiskSeen& disk) {
  const DiskLevel level = disk.state.level();
  const bool of_files = disk.state.measure() == DiskMeasure::files;
  if (disk.state.by_host()) {
    const std::string what = of_files ? "the host's disk has no more files to give; "
                                      : "the host's disk is full; ";
    return what + (level < DiskLevel::closed ? "sessions that write are ended"
                                             : "nobody is let in until there is room");
  }
  const std::string most = std::to_string(disk.order.files) + " files, the most for its disk_size";
  switch (level) {
    case DiskLevel::roomy:
      return "";
    case DiskLevel::near_full:
      return (of_files ? "it holds 95 % of " + most : "95 % of disk_size is used") +
             "; sessions start read-only until there is room";
    case DiskLevel::full:
      return of_files ? "it holds 98 % of " + most +
                            "; sessions that make more are ended: drop tables and indexes, or "
                            "order a larger disk_size"
                      : "98 % of disk_size is used; sessions that write more are ended: delete, or "
                        "order a larger disk_size";
    case DiskLevel::closed:
      return (of_files ? "it holds " + most : "disk_size is used up") +
             "; nobody is let in until there is room or a larger disk_size";
    case DiskLevel::stopped:
      return (of_files ? "it holds " + most : "disk_size is used up") +
             "; the server is stopped for a while";
  }
  return "";
}

const char* why_of(const NodeDisk& disk) {
  if (disk.measure() == DiskMeasure::files) {
    return disk.by_host() ? "host_files_full" : "files_full";
  }
  return disk.by_host() ? "host_disk_full" : "disk_full";
}

}  // namespace

void NodeActor::observe_disk() {
  if (!manifest_.ensure) return;
  if (disk_followed_ != manifest_.ensure || disk_followed_as_ != user_.uid) {
    const auto wake = [fd = wake_fd_.get()] {
      const uint64_t one = 1;
      if (::write(fd, &one, sizeof one) < 0) return;
    };
    context_.disks->follow({manifest_.node_id, paths_, user_,
                            manifest_.ensure->address.port,
                            (manifest_.ensure->size.disk_gb * context_.disk_unit_mb) << 20, wake});
    disk_followed_ = manifest_.ensure;
    disk_followed_as_ = user_.uid;
  }
  disk_ = context_.disks->seen(manifest_.node_id);
  seen_.disk_stopped = disk_.state.level() == DiskLevel::stopped;
}

// A primary's standbys, of which too few confirm what it writes: commits wait for ever.
void NodeActor::observe_writes() {
  std::string why;
  const auto& role = manifest_.role;
  if (role && role->role == NodeRole::primary) {
    if (disk_.state.level() >= DiskLevel::near_full) {
      why = why_of(disk_.state);
    } else if (facts_ && seen_.postgres == PostgresState::open && role->sync_number > 0) {
      const auto confirms = std::count_if(
          facts_->standbys.begin(), facts_->standbys.end(), [&](const StandbyFacts& standby) {
            return standby.state == "streaming" &&
                   std::find(role->sync_candidates.begin(), role->sync_candidates.end(),
                             standby.node_id) != role->sync_candidates.end();
          });
      if (confirms < role->sync_number) why = "no_sync_standby";
    }
  }
  if (why == writes_why_) return;
  writes_why_ = why;
  writes_since_us_ = now_unix_us();
}

void NodeActor::report_disk(v1::NodeReport* out) const {
  if (disk_.known) {
    v1::DiskReport* disk = out->mutable_disk();
    disk->set_level(to_proto(disk_.state.level()));
    disk->set_used_bytes(disk_.used.bytes);
    disk->set_order_bytes((disk_followed_->size.disk_gb * context_.disk_unit_mb) << 20);
    disk->set_host(disk_.state.by_host());
  }
  const bool told = out->ensure().has_failure();
  if (disk_.state.level() >= DiskLevel::near_full && !told) {
    v1::Failure* failure = out->mutable_ensure()->mutable_failure();
    failure->set_code("disk_full");
    failure->set_message(message_of(disk_));
  }
  const int64_t least = writes_why_ == "no_sync_standby" ? kUnconfirmedFor_us : kFullFor_us;
  if (writes_why_.empty() || now_unix_us() - writes_since_us_ < least) return;
  out->mutable_writes()->set_why(writes_why_);
  out->mutable_writes()->set_since_unix_us(writes_since_us_);
}

// What is copied here does not count as the customer's; the host's reserve is not for it either.
void NodeActor::await_room_for_copy() const {
  if (context_.disks->host() != HostRoom::critical) return;
  throw std::system_error(ENOSPC, std::generic_category(),
                          "the host has no room for a copy of the data");
}

}  // namespace trunkline::agent
