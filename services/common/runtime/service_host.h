// What every event-sourced service is made of: shards that own the state, an event feed, a command
// queue, the hosts' reports, a tick and snapshots. A service supplies the logic of one shard.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "eventlog/recorded_event.h"
#include "runtime/command_loop.h"
#include "runtime/config.h"
#include "trunkline/v1/envelope.pb.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::runtime {

// Everything is called on the shard's own thread, for the uuids that belong to it.
class ShardLogic {
 public:
  virtual ~ShardLogic() = default;

  // An aggregate of the snapshot; before any event. Throws if it cannot be read: then the whole
  // snapshot is thrown away.
  virtual void load(const v1::ServiceSnapshot::Aggregate& aggregate) = 0;
  virtual void clear() = 0;
  virtual void save(v1::ServiceSnapshot* snapshot) = 0;

  // Every event of the log, of any service, once, in the order of its stream.
  virtual void on_event(const eventlog::RecordedEvent& event) = 0;
  // The log was folded to its end: from now on the shard may act.
  virtual void on_ready() = 0;
  virtual void on_command(v1::Command&& command, std::shared_ptr<CommandReply> reply) = 0;
  // A host's report; `nodes` are the indexes of the nodes whose instances belong to this shard.
  // Reports that come faster than they are dealt with are skipped; the newest always comes.
  virtual void on_report(const v1::HostReport& report, const std::vector<int>& nodes) = 0;
  virtual void on_tick() = 0;
};

struct ServiceHostOptions {
  size_t shards = 3;
  std::chrono::milliseconds tick = std::chrono::milliseconds(100);
  int snapshot_format = 1;
  std::chrono::milliseconds snapshot_every = std::chrono::milliseconds(20'000);
  int64_t snapshot_after_events = 500;
  bool takes_commands = true;  // from the start
};

class ServiceHost {
 public:
  using MakeShard = std::function<std::unique_ptr<ShardLogic>(size_t index)>;
  // Returns when the service has caught up with the log and takes commands.
  ServiceHost(const ServiceConfig& config, bus::Bus& bus, const ServiceHostOptions& options,
              const MakeShard& make_shard);
  ~ServiceHost();
  ServiceHost(const ServiceHost&) = delete;
  ServiceHost& operator=(const ServiceHost&) = delete;

  // Takes commands off the queue, or leaves them to other processes of the service.
  void take_commands(bool take);
  // Up to which the log is folded by all shards.
  int64_t position() const;

  // Runs `work` on the shard that owns `uuid`.
  void post(const std::string& uuid, std::function<void(ShardLogic&)> work);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::runtime
