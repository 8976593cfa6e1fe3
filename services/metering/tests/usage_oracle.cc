#include "usage_oracle.h"

#include <algorithm>
#include <set>

#include "base/ids.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {
namespace {

struct Close {
  int64_t end, length;
};

// A value that holds from a time on, until the next one.
struct Step {
  int64_t at;
  Amounts rate;
};

struct Node {
  std::string instance;
  std::vector<Step> steps;
  int64_t created = -1;
  int64_t known_at = INT64_MAX;  // position of what says so
  bool is_over = false;
};

struct Instance {
  int64_t last = INT64_MIN;
  int64_t created = 0;
  std::string word = "NEW";
  bool is_over = false;
  std::vector<Step> steps;
  std::vector<std::pair<int64_t, v1::NodeSize>> ordered;
};

struct Item {
  int64_t from = 0;
  uint64_t used_mb = 0;
  bool is_node = false;
};

int64_t floor_ms(TimePoint at) {
  const int64_t us = to_unix_us(at);
  return us >= 0 ? us / 1000 : -((-us + 999) / 1000);
}

class Oracle {
 public:
  explicit Oracle(const std::vector<SimEvent>& log) : log_(log) {}

  Usage run() {
    find_windows();
    if (bounds_.empty()) return {};
    for (const SimEvent& event : log_) {
      if (event.position >= last_close_) break;
      if (event.stream.starts_with("instance-")) on_instance(event);
    }
    for (const SimEvent& event : log_) {
      if (event.position >= last_close_) break;
      if (event.stream.starts_with("usage-")) on_usage(event);
    }
    for (const auto& [id, instance] : instances_) lay_out(id, "", instance.steps);
    for (const auto& [id, node] : nodes_) lay_out(node.instance, id, node.steps);
    std::erase_if(usage_, [](const auto& entry) { return is_zero(entry.second); });
    return std::move(usage_);
  }

 private:
  // The ends of all windows, from before anything happened.
  void find_windows() {
    std::vector<Close> closes;
    int64_t first = INT64_MAX;
    for (const SimEvent& event : log_) {
      first = std::min(first, floor_ms(event.recorded_at));
      v1::UsageEvent usage;
      if (!event.stream.starts_with("usage-") || !usage.ParseFromString(event.payload)) continue;
      if (!usage.has_usage_window_closed()) continue;
      const auto& closed = usage.usage_window_closed();
      const int64_t before = closes.empty() ? INT64_MIN : closes.back().end;
      if (closed.window_end_unix_ms() <= before) continue;
      closes.push_back({closed.window_end_unix_ms(), closed.length_ms()});
      last_close_ = event.position;
    }
    if (closes.empty()) return;
    int64_t at = (first / closes[0].length - 2) * closes[0].length;
    bounds_.push_back(at);
    for (const Close& close : closes) {
      while (at < close.end) {
        at = (at / close.length + 1) * close.length;
        bounds_.push_back(at);
      }
    }
  }

  void on_instance(const SimEvent& event) {
    const std::string id = event.stream.substr(9);
    Instance& instance = instances_[id];
    instance.last = std::max(instance.last, floor_ms(event.recorded_at));
    const int64_t now = instance.last;
    v1::InstanceEvent e;
    e.ParseFromString(event.payload);
    if (e.has_instance_created()) {
      instance.created = now;
      instance.ordered.emplace_back(event.version, e.instance_created().size());
    } else if (e.has_instance_resized()) {
      instance.ordered.emplace_back(event.version, e.instance_resized().size());
    } else if (e.has_node_placed()) {
      nodes_[e.node_placed().node_id()].instance = id;
    } else if (e.has_node_created()) {
      node_created(instance, e.node_created(), now, event.position);
    } else if (e.has_node_removal_started()) {
      node_over(e.node_removal_started().node_id(), now);
    } else if (e.has_node_removed()) {
      node_over(e.node_removed().node_id(), now);
    }
    const std::string before = instance.word;
    instance.word = next_word(instance.word, e);
    if (e.has_instance_deletion_started() || e.has_instance_deleted()) {
      if (!instance.is_over) instance.steps.push_back({now, {}});
      instance.is_over = true;
      for (auto& [node_id, node] : nodes_) {
        if (node.instance == id) node_over(node_id, now);
      }
    }
    if (instance.is_over || (before == instance.word && !e.has_instance_created())) return;
    static const std::map<std::string, Meter> kMeterOf = {
        {"NEW", Meter::seconds_new},
        {"IN_PROGRESS", Meter::seconds_in_progress},
        {"ACTIVE", Meter::seconds_active},
        {"ERROR", Meter::seconds_error}};
    Amounts rate{};
    at(rate, kMeterOf.at(instance.word)) = 1;
    instance.steps.push_back({now, rate});
  }

  static std::string next_word(const std::string& word, const v1::InstanceEvent& e) {
    if (e.has_instance_activated()) return "ACTIVE";
    if (e.has_instance_failed()) return "ERROR";
    if (e.has_node_placed()) return word == "ERROR" ? word : "IN_PROGRESS";
    if (e.has_node_removal_started()) return word == "ACTIVE" ? "IN_PROGRESS" : word;
    const bool is_order =
        e.has_instance_resized() || e.has_instance_scaled() || e.has_instance_retried();
    return is_order && word != "NEW" ? "IN_PROGRESS" : word;
  }

  void node_created(const Instance& instance, const v1::NodeCreated& e, int64_t now,
                    int64_t position) {
    Node& node = nodes_[e.node_id()];
    if (node.is_over || instance.is_over) return;
    if (node.created < 0) {
      node.created = now;
      node.known_at = position;
    }
    v1::NodeSize size = instance.ordered.front().second;
    for (const auto& [version, ordered] : instance.ordered) {
      if (version <= static_cast<int64_t>(e.generation())) size = ordered;
    }
    Amounts rate{};
    at(rate, Meter::vcpu_seconds) = size.cpu();
    at(rate, Meter::ram_gb_seconds) = size.ram_mb();
    at(rate, Meter::storage_gb_seconds) = size.disk_gb();
    node.steps.push_back({now, rate});
  }

  void node_over(const std::string& id, int64_t now) {
    Node& node = nodes_[id];
    if (!node.is_over) node.steps.push_back({now, {}});
    node.is_over = true;
  }

  // Each step holds until the next one; every window takes what overlaps.
  void lay_out(const std::string& instance, const std::string& node,
               const std::vector<Step>& steps) {
    for (size_t i = 0; i < steps.size(); ++i) {
      const int64_t to = i + 1 < steps.size() ? steps[i + 1].at : bounds_.back();
      add_rate(instance, node, steps[i].at, to, steps[i].rate);
    }
  }

  size_t window_with(int64_t time) const {
    const auto after = std::upper_bound(bounds_.begin(), bounds_.end(), time);
    return static_cast<size_t>(after - bounds_.begin()) - 1;
  }

  void add_rate(const std::string& instance, const std::string& node, int64_t from, int64_t to,
                const Amounts& rate) {
    if (is_zero(rate)) return;
    for (size_t w = window_with(from); w + 1 < bounds_.size() && bounds_[w] < to; ++w) {
      const int64_t ms = std::min(to, bounds_[w + 1]) - std::max(from, bounds_[w]);
      if (ms <= 0) continue;
      Amounts& amounts = usage_[{instance, node, bounds_[w]}];
      for (size_t m = 0; m < kMeters; ++m) amounts[m] += rate[m] * ms;
    }
  }

  // All but the last window: their part, rounded down. What is then left is the last one's.
  void add_quantity(const std::string& instance, const std::string& node, Meter meter,
                    int64_t from, int64_t to, uint64_t quantity) {
    if (quantity == 0) return;
    const auto total = static_cast<__int128>(quantity);
    __int128 left = total;
    for (size_t w = window_with(from); w + 1 < bounds_.size(); ++w) {
      __int128 part = left;
      if (bounds_[w + 1] < to) {
        part = total * (bounds_[w + 1] - std::max(from, bounds_[w])) / (to - from);
      }
      at(usage_[{instance, node, bounds_[w]}], meter) += static_cast<int64_t>(part);
      left -= part;
      if (bounds_[w + 1] >= to) return;
    }
  }

  void on_usage(const SimEvent& event) {
    v1::UsageEvent usage;
    if (!usage.ParseFromString(event.payload) || !usage.has_usage_measured()) return;
    const v1::UsageMeasured& e = usage.usage_measured();
    int64_t& last = source_last_.try_emplace(event.stream, INT64_MIN).first->second;
    last = std::max(last, floor_ms(event.recorded_at));
    auto& items = source_items_[event.stream];
    std::map<std::string, Item> next = items;
    std::set<std::string> named;
    for (const auto& n : e.nodes()) {
      const Node& node = nodes_.at(n.node_id());
      const int64_t born = node.known_at < event.position
                               ? node.created
                               : instances_.at(node.instance).created;
      const int64_t begun = std::min(items.contains(n.node_id()) ? items[n.node_id()].from : born,
                                     last);
      Amounts storage{};
      at(storage, Meter::storage_used_gb_seconds) = static_cast<int64_t>(n.used_mb());
      if (named.insert(n.node_id()).second) {
        add_rate(node.instance, n.node_id(), begun, last, storage);
      }
      const auto put = [&](Meter meter, uint64_t quantity) {
        add_quantity(node.instance, n.node_id(), meter, begun, last, quantity);
      };
      put(Meter::transactions, n.used().transactions());
      put(Meter::wal_bytes, n.used().wal_bytes());
      put(Meter::read_bytes, n.used().read_bytes());
      put(Meter::write_bytes, n.used().write_bytes());
      put(Meter::cpu_seconds, n.used().cpu_ms());
      next[n.node_id()] = {last, n.used_mb(), true};
    }
    for (const auto& n : e.endpoints()) {
      const int64_t begun =
          std::min(items.contains(n.instance_id()) ? items[n.instance_id()].from
                                                   : instances_.at(n.instance_id()).created,
                   last);
      const auto put = [&](Meter meter, uint64_t quantity) {
        add_quantity(n.instance_id(), "", meter, begun, last, quantity);
      };
      put(Meter::bytes_in, n.used().bytes_in());
      put(Meter::bytes_out, n.used().bytes_out());
      put(Meter::connections, n.used().connections());
      put(Meter::connection_seconds, n.used().connection_ms());
      named.insert(n.instance_id());
      next[n.instance_id()] = {last, 0, false};
    }
    for (const auto& id : e.gone()) next.erase(id);
    if (!e.partial()) {
      for (const auto& [id, item] : items) {
        const bool is_silent = std::count(e.silent().begin(), e.silent().end(), id) > 0;
        if (named.contains(id) || is_silent || !next.contains(id)) continue;
        if (item.is_node) {
          Amounts storage{};
          at(storage, Meter::storage_used_gb_seconds) = static_cast<int64_t>(item.used_mb);
          add_rate(nodes_.at(id).instance, id, std::min(item.from, last), last, storage);
        }
        next[id].from = last;
      }
    }
    items = std::move(next);
  }

  const std::vector<SimEvent>& log_;
  int64_t last_close_ = 0;
  std::vector<int64_t> bounds_;
  std::map<std::string, Instance> instances_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, std::map<std::string, Item>> source_items_;
  std::map<std::string, int64_t> source_last_;
  Usage usage_;
};

}  // namespace

Usage oracle(const std::vector<SimEvent>& log) { return Oracle(log).run(); }

}  // namespace trunkline::metering
