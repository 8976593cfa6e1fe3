#include "metering/domain/measure_decide.h"

#include <algorithm>
#include <optional>
#include <set>

namespace trunkline::metering {
namespace {

struct Difference {
  std::string epoch;
  Counters total{};
  Counters used{};
};

// What the stream says of an epoch; zero where it says nothing.
Counters known_total(const SourceItem* item, const std::string& epoch) {
  if (item == nullptr) return {};
  for (const EpochCounters& known : item->epochs) {
    if (known.epoch == epoch) return known.total;
  }
  return {};
}

// A counter that went back within its epoch tells nothing.
Difference difference(const SourceItem* item, const EpochCounters& heard) {
  Difference change;
  change.epoch = heard.epoch;
  change.total = known_total(item, heard.epoch);
  for (size_t i = 0; i < heard.total.size(); ++i) {
    if (heard.total[i] <= change.total[i]) continue;
    const uint64_t used = heard.total[i] - change.total[i];
    if (used > kMostPlausible) continue;
    change.used[i] = used;
    change.total[i] = heard.total[i];
  }
  return change;
}

bool is_used(const Difference& change) {
  return std::any_of(change.used.begin(), change.used.end(), [](uint64_t n) { return n != 0; });
}

void put(const Counters& counters, v1::NodeUsage* usage) {
  usage->set_transactions(counters[0]);
  usage->set_wal_bytes(counters[1]);
  usage->set_read_bytes(counters[2]);
  usage->set_write_bytes(counters[3]);
  usage->set_cpu_ms(counters[4]);
}

void put(const Counters& counters, v1::EndpointUsage* usage) {
  usage->set_bytes_in(counters[0]);
  usage->set_bytes_out(counters[1]);
  usage->set_connections(counters[2]);
  usage->set_connection_ms(counters[3]);
}

class Measuring {
 public:
  Measuring(const UsageState& state, const HeardSource& heard)
      : state_(state), heard_(heard), id_(source_uuid(heard.source)) {
    const auto found = state.sources.find(id_);
    if (found != state.sources.end()) source_ = &found->second;
    begin_event();
  }

  bool is_measured_since(int64_t window_end_ms) const {
    return source_ != nullptr && source_->last_ms >= window_end_ms;
  }

  std::vector<v1::UsageMeasured> decide(int64_t now_ms) {
    bool is_heard = heard_.has_whole;
    for (const auto& [id, item] : heard_.items) {
      if (!is_ours(id, item)) continue;
      is_heard |= item.is_heard;
      is_heard |= name(id, item);
    }
    const bool is_known = source_ != nullptr && !source_->items.empty();
    if (!is_heard || (!is_known && named_.empty())) return {};
    if (source_ != nullptr) {
      for (const auto& [id, item] : source_->items) look_at_unnamed(id, item, now_ms);
    }
    for (v1::UsageMeasured& event : events_) event.set_partial(&event != &events_.back());
    return std::move(events_);
  }

 private:
  void begin_event() {
    events_.emplace_back();
    events_.back().set_source(heard_.source);
  }
  v1::UsageMeasured& event() {
    if (events_.back().nodes_size() + events_.back().endpoints_size() >= kItemsAnEvent) {
      begin_event();
    }
    return events_.back();
  }

  // Known to the log, on this host, and not yet done with.
  bool is_ours(const std::string& id, const HeardItem& item) const {
    if (!item.is_node) {
      const InstanceState* instance = state_.find_instance(id);
      return instance != nullptr && !instance->gone.contains(id_);
    }
    const NodeState* node = state_.find_node(id);
    return node != nullptr && !node->is_gone && "host:" + node->host == heard_.source;
  }

  // True if there is something to say of it.
  bool name(const std::string& id, const HeardItem& item) {
    const SourceItem* known = known_item(id);
    const std::vector<EpochCounters> totals = item.totals();
    bool is_first = known == nullptr;
    bool is_named = false;
    for (const EpochCounters& total : totals) {
      const Difference change = difference(known, total);
      const bool is_resized = item.is_node && item.used_mb != (known ? known->used_mb : 0) &&
                              item.is_heard && &total == &totals.back() && !is_named;
      if (!is_first && !is_resized && !is_used(change)) continue;
      is_first = false;
      is_named = true;
      if (item.is_node) {
        v1::MeasuredNode* node = event().add_nodes();
        node->set_node_id(id);
        node->set_instance_id(item.instance_id);
        node->set_epoch(change.epoch);
        node->set_used_mb(item.used_mb);
        put(change.total, node->mutable_total());
        put(change.used, node->mutable_used());
      } else {
        v1::MeasuredEndpoint* endpoint = event().add_endpoints();
        endpoint->set_instance_id(id);
        endpoint->set_epoch(change.epoch);
        put(change.total, endpoint->mutable_total());
        put(change.used, endpoint->mutable_used());
      }
    }
    if (is_named) named_.insert(id);
    return is_named;
  }

  void look_at_unnamed(const std::string& id, const SourceItem& item, int64_t now_ms) {
    if (named_.contains(id)) return;
    if (heard_.has_whole && !heard_.whole.contains(id) && is_over(id, item, now_ms)) {
      events_.back().add_gone(id);
      return;
    }
    const auto heard = heard_.items.find(id);
    const bool is_heard = heard != heard_.items.end() && heard->second.is_heard;
    if (!is_heard) events_.back().add_silent(id);
  }

  bool is_over(const std::string& id, const SourceItem& item, int64_t now_ms) const {
    std::optional<int64_t> ended_ms;
    if (item.is_node) {
      const NodeState* node = state_.find_node(id);
      if (node == nullptr) return true;
      ended_ms = node->ended_ms;
    } else {
      const InstanceState* instance = state_.find_instance(id);
      if (instance == nullptr) return true;
      ended_ms = instance->ended_ms;
    }
    return ended_ms && now_ms - *ended_ms >= kLastWordsMs;
  }

  const SourceItem* known_item(const std::string& id) const {
    if (source_ == nullptr) return nullptr;
    const auto found = source_->items.find(id);
    return found == source_->items.end() ? nullptr : &found->second;
  }

  const UsageState& state_;
  const HeardSource& heard_;
  const std::string id_;
  const SourceState* source_ = nullptr;
  std::vector<v1::UsageMeasured> events_;
  std::set<std::string> named_;
};

}  // namespace

std::vector<v1::UsageMeasured> decide_measure(const UsageState& state, const HeardSource& heard,
                                              int64_t window_end_ms) {
  Measuring measuring(state, heard);
  if (measuring.is_measured_since(window_end_ms)) return {};
  return measuring.decide(window_end_ms);
}

}  // namespace trunkline::metering
