// Events of a log by hand, folded into usage: given(...), then records.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/ids.h"
#include "metering/domain/usage_evolve.h"
#include "metering/domain/window_close.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::metering {

inline const std::string kInstanceId = uuid_from_name("test/instance");
inline const std::string kProject = uuid_from_name("test/project");
inline const std::string kNode = uuid_from_name("test/node-a");
inline const std::string kOther = uuid_from_name("test/node-b");
inline constexpr int64_t kMinuteMs = 60'000;
inline constexpr int64_t kT0 = 1'760'000'040'000;  // a full minute

// Times are ms after kT0.
class UsageGiven {
 public:
  UsageState state;
  std::vector<UsageRecord> records;  // of the newest close

  void created(int64_t at, uint32_t cpu = 2, uint32_t ram_mb = 1024, uint32_t disk_gb = 10) {
    v1::InstanceEvent event;
    auto* e = event.mutable_instance_created();
    e->set_project_id(kProject);
    e->set_name("shop");
    set_size(e->mutable_size(), cpu, ram_mb, disk_gb);
    instance(at, event);
  }
  void resized(int64_t at, uint32_t cpu, uint32_t ram_mb = 1024, uint32_t disk_gb = 10) {
    v1::InstanceEvent event;
    set_size(event.mutable_instance_resized()->mutable_size(), cpu, ram_mb, disk_gb);
    instance(at, event);
  }
  void placed(int64_t at, const std::string& node = kNode, const std::string& host = "host-a",
              bool is_replacement = false) {
    v1::InstanceEvent event;
    event.mutable_node_placed()->set_is_replacement(is_replacement);
    event.mutable_node_placed()->set_node_id(node);
    event.mutable_node_placed()->mutable_address()->set_host(host);
    instance(at, event);
  }
  void node_created(int64_t at, uint64_t generation, const std::string& node = kNode) {
    v1::InstanceEvent event;
    event.mutable_node_created()->set_node_id(node);
    event.mutable_node_created()->set_generation(generation);
    instance(at, event);
  }
  void instance(int64_t at, const v1::InstanceEvent& event) {
    take(at, "instance-" + kInstanceId, ++version_, event.SerializeAsString());
  }
  void measured(int64_t at, v1::UsageMeasured event, const std::string& source = "host:host-a") {
    event.set_source(source);
    v1::UsageEvent usage;
    *usage.mutable_usage_measured() = std::move(event);
    take(at, "usage-" + source_uuid(source), ++source_versions_[source],
         usage.SerializeAsString());
  }
  const std::vector<UsageRecord>& closed(int64_t end, int64_t length_ms = kMinuteMs) {
    v1::UsageEvent usage;
    usage.mutable_usage_window_closed()->set_window_end_unix_ms(kT0 + end);
    usage.mutable_usage_window_closed()->set_length_ms(length_ms);
    take(end + 5'000, "usage-" + windows_stream_uuid(), ++closes_, usage.SerializeAsString());
    return records;
  }

  // Of the newest close; 0 if there is no such record.
  int64_t amount(Meter meter, int64_t start, const std::string& node = kNode) const {
    const UsageRecord* found = record(start, node);
    return found == nullptr ? 0 : at(found->amounts, meter);
  }
  int64_t of_instance(Meter meter, int64_t start) const { return amount(meter, start, ""); }
  const UsageRecord* record(int64_t start, const std::string& node = kNode) const {
    for (const UsageRecord& one : records) {
      if (one.window.start_ms == kT0 + start && one.node_id == node) return &one;
    }
    return nullptr;
  }
  int64_t version() const { return version_; }

 private:
  static void set_size(v1::NodeSize* size, uint32_t cpu, uint32_t ram_mb, uint32_t disk_gb) {
    size->set_cpu(cpu);
    size->set_ram_mb(ram_mb);
    size->set_disk_gb(disk_gb);
  }
  void take(int64_t at_ms, const std::string& stream, int64_t version,
            const std::string& payload) {
    UsageChange change;
    const auto error = evolve(
        state, {++position_, stream, version, 1, payload, from_unix_us((kT0 + at_ms) * 1000)},
        change);
    EXPECT_EQ(error, std::nullopt);
    records = change.records;
  }

  int64_t position_ = 0;
  int64_t version_ = 0;
  int64_t closes_ = 0;
  std::map<std::string, int64_t> source_versions_;
};

inline v1::MeasuredNode counted(uint64_t total, uint64_t used, uint64_t used_mb = 0,
                                const std::string& epoch = "e1",
                                const std::string& node = kNode) {
  v1::MeasuredNode measured;
  measured.set_node_id(node);
  measured.set_instance_id(kInstanceId);
  measured.set_epoch(epoch);
  measured.set_used_mb(used_mb);
  measured.mutable_total()->set_transactions(total);
  measured.mutable_used()->set_transactions(used);
  return measured;
}

}  // namespace trunkline::metering
