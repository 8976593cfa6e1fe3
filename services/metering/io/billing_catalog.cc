#include "metering/io/billing_catalog.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <pqxx/pqxx>
#include <thread>

#include "eventlog/log.h"
#include "runtime/aggregate_shell.h"
#include "runtime/command_body.h"
#include "runtime/command_loop.h"
#include "runtime/event_feed.h"
#include "runtime/random.h"
#include "runtime/shards.h"

namespace trunkline::metering {
namespace {

// Reading begins that many positions before the end, in case that somebody commits late.
constexpr int64_t kOverlap = 10'000;

template <class StateOf, class CommandOf, class EventOf, class FactsOf>
struct AggregateOf {
  using State = StateOf;
  using Command = CommandOf;
  using Event = EventOf;
  using Facts = FactsOf;
  static State initial(const std::string& uuid) { return State(uuid); }
  static Decision<Event> decide(const State& state, const Command& command, const Facts& facts,
                                TimePoint now) {
    return metering::decide(state, command, facts, now);
  }
  static void evolve(State& state, const Event& event, TimePoint recorded_at) {
    metering::evolve(state, event, recorded_at);
  }
};
struct PriceListAggregate
    : AggregateOf<PriceListState, v1::PriceListCommand, v1::PriceListEvent, PriceListFacts> {
  static constexpr const char* kName = "pricelist";
};
struct WebhookAggregate
    : AggregateOf<WebhookState, v1::WebhookCommand, v1::WebhookEvent, WebhookFacts> {
  static constexpr const char* kName = "webhook";
};

struct LogEnd {
  int64_t position = 0;
  std::vector<std::string> streams;
};

LogEnd read_end(const std::string& dsn) {
  pqxx::connection connection(dsn);
  pqxx::nontransaction session(connection);
  LogEnd end;
  end.position =
      session.exec1("SELECT coalesce(max(position), 0) FROM log.event")[0].as<int64_t>();
  // '.' is the character after '-'.
  for (const auto& row : session.exec(
           "SELECT stream FROM log.event WHERE version = 1 AND "
           "(stream >= 'pricelist-' AND stream < 'pricelist.' OR "
           "stream >= 'webhook-' AND stream < 'webhook.')")) {
    end.streams.emplace_back(row[0].c_str());
  }
  return end;
}

}  // namespace

struct BillingCatalog::Impl {
  const Options options;
  eventlog::Log log;
  runtime::AggregateShell<PriceListAggregate> price_lists;
  runtime::AggregateShell<WebhookAggregate> webhooks;
  mutable std::mutex mutex;
  std::condition_variable moved;
  std::shared_ptr<const BillingView> view = std::make_shared<BillingView>();
  int64_t position = 0;  // of the log, that the view has
  // Destroyed in reverse: first nothing new comes in.
  std::unique_ptr<runtime::Shards> shard;
  std::unique_ptr<runtime::EventFeed> feed;
  std::unique_ptr<runtime::CommandLoop> commands;

  Impl(bus::Bus& bus, Options o)
      : options(std::move(o)), log(options.log_dsn), price_lists(log, bus), webhooks(log, bus) {}

  static bool is_ours(const std::string& stream) {
    return stream.starts_with("pricelist-") || stream.starts_with("webhook-");
  }

  void take(const eventlog::RecordedEvent& event) {
    if (event.stream.starts_with("pricelist-")) {
      price_lists.apply(event);
    } else {
      webhooks.apply(event);
    }
  }

  // A batch of the feed, on the shard's thread.
  void fold(const std::vector<eventlog::RecordedEvent>& batch) {
    bool changed = false;
    for (const auto& event : batch) {
      if (!is_ours(event.stream)) continue;
      take(event);
      changed = true;
    }
    if (changed) publish();
    reached(batch.back().position);
  }

  void reached(int64_t up_to) {
    {
      const std::lock_guard lock(mutex);
      position = std::max(position, up_to);
    }
    moved.notify_all();
  }

  void publish() {
    auto next = std::make_shared<BillingView>();
    for (const auto& [uuid, entry] : price_lists.entries()) {
      if (!entry.state.versions.empty()) next->price_lists[uuid] = entry.state;
    }
    for (const auto& [uuid, entry] : webhooks.entries()) {
      if (entry.state.created && !entry.state.deleted) next->webhooks[uuid] = entry.state;
    }
    {
      const std::lock_guard lock(mutex);
      view = std::move(next);
    }
    if (options.on_change) options.on_change();
  }

  PriceListFacts facts_for(const std::string& uuid) {
    PriceListFacts facts;
    for (const auto& [other, entry] : price_lists.entries()) {
      if (other == uuid || entry.state.versions.empty() || entry.state.retired_at) continue;
      facts.names_in_use.insert(entry.state.versions.back().name);
    }
    return facts;
  }

  v1::CommandAnswer decide(const v1::Command& command) {
    if (command.has_price_list()) {
      return price_lists.handle(command, command.price_list(), facts_for(command.aggregate_id()),
                                true);
    }
    if (command.has_webhook()) {
      return webhooks.handle(command, command.webhook(), options.webhook_facts, true);
    }
    auto answer = runtime::rejection_answer(
        reject(RejectionBlame::bad_value, "command_empty", "the command has no body"));
    answer.set_command_id(command.command_id());
    return answer;
  }

  void on_command(const v1::Command& command, runtime::CommandReply& reply) {
    try {
      const auto answer = decide(command);
      if (answer.has_accepted()) publish();
      reply.answer(answer);
    } catch (const eventlog::LogUnavailable& error) {
      spdlog::warn("command {} waits for the log: {}", command.command_id(), error.what());
      reply.again();
    }
  }

  void load() {
    while (true) {
      try {
        const LogEnd end = read_end(options.log_dsn);
        for (const auto& stream : end.streams) {
          for (const auto& event : log.read_stream(stream, 0)) take(event);
        }
        publish();
        reached(std::max<int64_t>(0, end.position - kOverlap));
        return;
      } catch (const std::exception& error) {
        spdlog::warn("price lists and webhooks cannot be read yet: {}", error.what());
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
      }
    }
  }
};

BillingCatalog::BillingCatalog(bus::Bus& bus, Options options)
    : impl_(std::make_unique<Impl>(bus, std::move(options))) {
  Impl& impl = *impl_;
  impl.load();
  impl.shard = std::make_unique<runtime::Shards>(1);
  runtime::EventFeed::Options feed;
  feed.log_dsn = impl.options.log_dsn;
  feed.after_position = impl.position;
  impl.feed = std::make_unique<runtime::EventFeed>(bus, feed, [&impl](const auto& batch) {
    if (batch.empty()) return;
    impl.shard->on_each([&](size_t) { impl.fold(batch); });
  });
  impl.commands = std::make_unique<runtime::CommandLoop>(
      bus, "metering",
      [&impl](v1::Command&& command, std::shared_ptr<runtime::CommandReply> reply) {
        impl.shard->post(size_t{0},
                         [&impl, command = std::move(command), reply = std::move(reply)] {
                           impl.on_command(command, *reply);
                         });
      });
}

BillingCatalog::~BillingCatalog() {
  impl_->commands.reset();
  impl_->feed.reset();
  impl_->shard.reset();
}

std::shared_ptr<const BillingView> BillingCatalog::view() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->view;
}

int64_t BillingCatalog::position() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->position;
}

bool BillingCatalog::wait_for(int64_t position, std::chrono::milliseconds patience) {
  std::unique_lock lock(impl_->mutex);
  return impl_->moved.wait_for(lock, patience,
                               [&] { return impl_->position >= position; });
}

void BillingCatalog::tell(const std::string& webhook_id, const v1::WebhookCommand& told,
                          const std::string& why) {
  v1::Command command;
  command.set_command_id(runtime::new_uuid());
  command.set_aggregate_id(webhook_id);
  command.set_actor("service:metering");
  command.set_correlation_id(command.command_id());
  command.set_causation_id(why);
  *command.mutable_webhook() = told;
  impl_->shard->post(size_t{0}, [impl = impl_.get(), command = std::move(command)] {
    if (impl->decide(command).has_accepted()) impl->publish();
  });
}

int64_t BillingCatalog::changed_at(const std::string& price_list_id) const {
  eventlog::Log log(impl_->options.log_dsn);
  const auto events = log.read_stream(eventlog::stream_name("pricelist", price_list_id), 0);
  return events.empty() ? 0 : events.back().position;
}

PriceListState BillingCatalog::price_list_at(const std::string& uuid, int64_t position) const {
  eventlog::Log log(impl_->options.log_dsn);
  PriceListState state(uuid);
  for (const auto& event : log.read_stream(eventlog::stream_name("pricelist", uuid), 0)) {
    if (event.position > position) break;
    v1::PriceListEvent parsed;
    if (parsed.ParseFromString(event.payload)) evolve(state, parsed, event.recorded_at);
  }
  return state;
}

}  // namespace trunkline::metering
