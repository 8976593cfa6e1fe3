#include <algorithm>
#include <unordered_set>

#include "metering/domain/usage_fold.h"

namespace trunkline::metering {
namespace {

constexpr uint64_t kMostQuantity = uint64_t{1} << 56;
constexpr uint64_t kMostMb = uint64_t{1} << 40;

int64_t quantity(uint64_t value) { return static_cast<int64_t>(std::min(value, kMostQuantity)); }

void remember(SourceItem& item, const std::string& epoch, const Counters& total) {
  for (EpochCounters& known : item.epochs) {
    if (known.epoch != epoch) continue;
    for (size_t i = 0; i < total.size(); ++i) known.total[i] = std::max(known.total[i], total[i]);
    return;
  }
  item.epochs.push_back({epoch, total});
  if (item.epochs.size() > kEpochsKept) item.epochs.erase(item.epochs.begin());
}

Amounts used_storage(uint64_t used_mb) {
  Amounts rate{};
  at(rate, Meter::storage_used_gb_seconds) = static_cast<int64_t>(std::min(used_mb, kMostMb));
  return rate;
}

// One UsageMeasured of a source, at `at_ms`.
class MeasuredFold {
 public:
  MeasuredFold(UsageState& state, SourceState& source, int64_t at_ms)
      : state_(state), source_(source), at_ms_(at_ms) {}

  void on(const v1::MeasuredNode& e) {
    NodeState* node = state_.find_node(e.node_id());
    if (node == nullptr) return;
    const std::string& owner = state_.instance_of_node.at(e.node_id());
    const InstanceState& instance = state_.instances.at(owner);
    SourceItem& item =
        begin(e.node_id(), owner, true, node->created_ms.value_or(instance.created_ms));
    if (named_.insert(e.node_id()).second) {
      item.used_mb = e.used_mb();
      give_storage(item, *node);
    }
    Amounts used{};
    at(used, Meter::transactions) = quantity(e.used().transactions());
    at(used, Meter::wal_bytes) = quantity(e.used().wal_bytes());
    at(used, Meter::read_bytes) = quantity(e.used().read_bytes());
    at(used, Meter::write_bytes) = quantity(e.used().write_bytes());
    at(used, Meter::cpu_seconds) = quantity(e.used().cpu_ms());
    if (!node->is_replacement) give(item, used, node->account);
    const v1::NodeUsage& total = e.total();
    remember(item, e.epoch(), {total.transactions(), total.wal_bytes(), total.read_bytes(),
                               total.write_bytes(), total.cpu_ms()});
  }

  void on(const v1::MeasuredEndpoint& e) {
    InstanceState* instance = state_.find_instance(e.instance_id());
    if (instance == nullptr) return;
    SourceItem& item = begin(e.instance_id(), e.instance_id(), false, instance->created_ms);
    named_.insert(e.instance_id());
    Amounts used{};
    at(used, Meter::bytes_in) = quantity(e.used().bytes_in());
    at(used, Meter::bytes_out) = quantity(e.used().bytes_out());
    at(used, Meter::connections) = quantity(e.used().connections());
    at(used, Meter::connection_seconds) = quantity(e.used().connection_ms());
    give(item, used, instance->account);
    const v1::EndpointUsage& total = e.total();
    remember(item, e.epoch(), {total.bytes_in(), total.bytes_out(), total.connections(),
                               total.connection_ms(), 0});
  }

  void end_named() {
    for (const std::string& id : named_) source_.items.at(id).from_ms = at_ms_;
  }

  // All others that the source spoke of.
  void end_unchanged(const std::unordered_set<std::string_view>& silent) {
    for (auto& [id, item] : source_.items) {
      if (named_.contains(id) || silent.contains(id)) continue;
      if (item.is_node) {
        if (NodeState* node = state_.find_node(id)) give_storage(item, *node);
      }
      item.from_ms = at_ms_;
    }
  }

  void forget(const std::string& id, const std::string& source_id) {
    const auto item = source_.items.find(id);
    if (item == source_.items.end()) return;
    if (item->second.is_node) {
      if (NodeState* node = state_.find_node(id)) node->is_gone = true;
    } else if (InstanceState* instance = state_.find_instance(id)) {
      instance->gone.insert(source_id);
    }
    source_.items.erase(item);
  }

 private:
  SourceItem& begin(const std::string& id, const std::string& instance_id, bool is_node,
                    int64_t from_ms) {
    const auto [place, is_new] = source_.items.try_emplace(id);
    if (is_new) {
      place->second.instance_id = instance_id;
      place->second.is_node = is_node;
      place->second.from_ms = from_ms;
    }
    return place->second;
  }
  void give(const SourceItem& item, const Amounts& used, Account& account) {
    if (is_zero(used)) return;
    account.pieces.push_back(quantity_piece(std::min(item.from_ms, at_ms_), at_ms_, used));
  }
  void give_storage(const SourceItem& item, NodeState& node) {
    if (item.used_mb == 0 || item.from_ms >= at_ms_ || node.is_replacement) return;
    node.account.pieces.push_back(rate_piece(item.from_ms, at_ms_, used_storage(item.used_mb)));
  }

  UsageState& state_;
  SourceState& source_;
  const int64_t at_ms_;
  std::unordered_set<std::string> named_;
};

}  // namespace

void evolve_measured(UsageState& state, const std::string& source_id, int64_t version,
                     int64_t recorded_ms, const v1::UsageMeasured& event) {
  SourceState& source = state.sources[source_id];
  source.version = version;
  source.last_ms = std::max(source.last_ms, recorded_ms);
  MeasuredFold fold(state, source, source.last_ms);
  for (const auto& node : event.nodes()) fold.on(node);
  for (const auto& endpoint : event.endpoints()) fold.on(endpoint);
  fold.end_named();
  for (const auto& id : event.gone()) fold.forget(id, source_id);
  if (event.partial()) return;
  const std::unordered_set<std::string_view> silent(event.silent().begin(), event.silent().end());
  fold.end_unchanged(silent);
}

}  // namespace trunkline::metering
