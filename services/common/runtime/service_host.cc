#include "runtime/service_host.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <future>
#include <latch>
#include <map>
#include <mutex>

#include "runtime/event_feed.h"
#include "runtime/shards.h"
#include "runtime/snapshot_store.h"
#include "runtime/ticker.h"

namespace trunkline::runtime {

struct ServiceHost::Impl {
  const ServiceConfig config;
  bus::Bus& bus;
  const ServiceHostOptions options;
  SnapshotStore snapshots;
  int64_t snapshot_position = 0;

  // A report waits in its slot until the shard takes it; a newer one takes its place.
  struct Inbox {
    std::mutex mutex;
    std::map<std::string, std::shared_ptr<const v1::HostReport>> reports;  // by host
    std::atomic<bool> tick_waits{false};
  };
  std::vector<std::unique_ptr<Inbox>> inboxes;
  std::vector<std::unique_ptr<ShardLogic>> logic;

  // Destroyed in reverse: first nothing new comes in, then the shards end.
  std::unique_ptr<Shards> shards;
  std::unique_ptr<EventFeed> feed;
  std::unique_ptr<Ticker> snapshot_ticker;
  std::unique_ptr<Ticker> ticker;
  std::unique_ptr<bus::Subscription> reports;
  std::unique_ptr<CommandLoop> commands;

  Impl(const ServiceConfig& c, bus::Bus& b, const ServiceHostOptions& o)
      : config(c), bus(b), options(o), snapshots(c.log_dsn, c.service, o.snapshot_format) {}

  void load_snapshot() {
    try {
      const auto stored = snapshots.load();
      if (!stored) return;
      v1::ServiceSnapshot snapshot;
      if (!snapshot.ParseFromString(stored->data)) throw std::runtime_error("it does not parse");
      for (const auto& aggregate : snapshot.aggregates()) {
        logic[shards->index_of(aggregate.uuid())]->load(aggregate);
      }
      snapshot_position = stored->position;
      spdlog::info("snapshot of position {} with {} aggregates loaded", stored->position,
                   snapshot.aggregates_size());
    } catch (const std::exception& error) {
      spdlog::warn("the snapshot is not usable, folding the whole log: {}", error.what());
      for (const auto& shard : logic) shard->clear();
      snapshot_position = 0;
    }
  }

  void save_snapshot() {
    const int64_t position = feed->position();
    if (position - snapshot_position < options.snapshot_after_events) return;
    std::vector<v1::ServiceSnapshot> parts(shards->count());
    shards->on_each([&](size_t i) { logic[i]->save(&parts[i]); });
    for (size_t i = 1; i < parts.size(); ++i) parts[0].MergeFrom(parts[i]);
    snapshots.save({position, parts[0].SerializeAsString()});
    snapshot_position = position;
  }

  // Hands a batch to the shards and waits, so that the feed's position is what all have folded.
  void fold(const std::vector<eventlog::RecordedEvent>& batch) {
    std::map<size_t, std::vector<const eventlog::RecordedEvent*>> by_shard;
    for (const auto& event : batch) {
      by_shard[shards->index_of(eventlog::uuid_of(event.stream))].push_back(&event);
    }
    std::latch done(static_cast<ptrdiff_t>(by_shard.size()));
    for (const auto& [index, events] : by_shard) {
      shards->post(index, [this, index = index, &events = events, &done] {
        for (const auto* event : events) {
          try {
            logic[index]->on_event(*event);
          } catch (const std::exception& error) {
            spdlog::error("event {} of {}: {}", event->position, event->stream, error.what());
          }
        }
        done.count_down();
      });
    }
    done.wait();
  }

  void take_report(const bus::Message& message) {
    auto report = std::make_shared<v1::HostReport>();
    if (!report->ParseFromString(message.data) ||
        message.subject != "tl.report." + report->host()) {
      spdlog::warn("a message on {} is no report of that host", message.subject);
      return;
    }
    for (size_t i = 0; i < shards->count(); ++i) {
      {
        const std::lock_guard lock(inboxes[i]->mutex);
        auto& slot = inboxes[i]->reports[report->host()];
        const bool waits = slot != nullptr;
        slot = report;
        if (waits) continue;
      }
      shards->post(i, [this, i, host = report->host()] { deliver_report(i, host); });
    }
  }

  void deliver_report(size_t index, const std::string& host) {
    std::shared_ptr<const v1::HostReport> report;
    {
      const std::lock_guard lock(inboxes[index]->mutex);
      report.swap(inboxes[index]->reports[host]);
    }
    std::vector<int> nodes;
    for (int i = 0; i < report->nodes_size(); ++i) {
      if (shards->index_of(report->nodes(i).instance_id()) == index) nodes.push_back(i);
    }
    logic[index]->on_report(*report, nodes);
  }

  void take_commands() {
    commands = std::make_unique<CommandLoop>(
        bus, config.service, [this](v1::Command&& command, std::shared_ptr<CommandReply> reply) {
          const size_t index = shards->index_of(command.aggregate_id());
          shards->post(index, [this, index, command = std::move(command),
                               reply = std::move(reply)]() mutable {
            logic[index]->on_command(std::move(command), std::move(reply));
          });
        });
  }

  void tick() {
    for (size_t i = 0; i < shards->count(); ++i) {
      if (inboxes[i]->tick_waits.exchange(true)) continue;
      shards->post(i, [this, i] {
        inboxes[i]->tick_waits = false;
        logic[i]->on_tick();
      });
    }
  }
};

ServiceHost::ServiceHost(const ServiceConfig& config, bus::Bus& bus,
                         const ServiceHostOptions& options, const MakeShard& make_shard)
    : impl_(std::make_unique<Impl>(config, bus, options)) {
  Impl& impl = *impl_;
  impl.shards = std::make_unique<Shards>(options.shards);
  for (size_t i = 0; i < options.shards; ++i) {
    impl.inboxes.push_back(std::make_unique<Impl::Inbox>());
    impl.logic.push_back(make_shard(i));
  }
  impl.load_snapshot();
  std::promise<void> caught_up;
  EventFeed::Options feed_options;
  feed_options.log_dsn = config.log_dsn;
  feed_options.after_position = impl.snapshot_position;
  feed_options.on_caught_up = [&caught_up] { caught_up.set_value(); };
  impl.feed = std::make_unique<EventFeed>(bus, feed_options,
                                          [&impl](const auto& batch) { impl.fold(batch); });
  caught_up.get_future().wait();
  impl.shards->on_each([&impl](size_t i) { impl.logic[i]->on_ready(); });
  impl.reports = bus.subscribe("tl.report.*", [&impl](bus::Message&& m) { impl.take_report(m); });
  impl.ticker = std::make_unique<Ticker>(options.tick, [&impl] { impl.tick(); });
  impl.snapshot_ticker =
      std::make_unique<Ticker>(options.snapshot_every, [&impl] { impl.save_snapshot(); });
  if (options.takes_commands) impl.take_commands();
  spdlog::info("{} is ready at position {}", config.service, impl.feed->position());
}

ServiceHost::~ServiceHost() {
  impl_->commands.reset();
  impl_->reports.reset();
  impl_->ticker.reset();
  impl_->snapshot_ticker.reset();
  impl_->feed.reset();
  impl_->shards.reset();
}

void ServiceHost::take_commands(bool take) {
  if (!take) {
    impl_->commands.reset();
  } else if (!impl_->commands) {
    impl_->take_commands();
  }
}

int64_t ServiceHost::position() const { return impl_->feed->position(); }

void ServiceHost::post(const std::string& uuid, std::function<void(ShardLogic&)> work) {
  const size_t index = impl_->shards->index_of(uuid);
  impl_->shards->post(index, [this, index, work = std::move(work)] { work(*impl_->logic[index]); });
}

}  // namespace trunkline::runtime
