#include "telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace trunkline::telemetry {
namespace {

struct Hooks {
  std::mutex mutex;
  uint64_t next = 0;
  std::map<uint64_t, std::function<void()>> updates;
};

Hooks& hooks() {
  static Hooks* const all = new Hooks;  // outlives every static family
  return *all;
}

// The members of one family by their labels' values.
template <class Metric>
class Members {
 public:
  Members(prometheus::Family<Metric>& family, std::vector<std::string> labels, size_t most)
      : family_(family), labels_(std::move(labels)), most_(most) {}

  template <class... Arguments>
  Metric& at(LabelValues given, const Arguments&... arguments) {
    std::vector<std::string> values(given.begin(), given.end());
    values.resize(labels_.size());
    const std::lock_guard lock(mutex_);
    auto found = members_.find(values);
    if (found == members_.end() && members_.size() >= most_) {
      for (auto& value : values) value = "other";
      found = members_.find(values);
    }
    if (found == members_.end()) {
      prometheus::Labels named;
      for (size_t i = 0; i < labels_.size(); ++i) named[labels_[i]] = values[i];
      found = members_.emplace(values, &family_.Add(named, arguments...)).first;
    }
    return *found->second;
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    for (const auto& [values, member] : members_) family_.Remove(member);
    members_.clear();
  }

 private:
  prometheus::Family<Metric>& family_;
  const std::vector<std::string> labels_;
  const size_t most_;
  std::mutex mutex_;
  std::map<std::vector<std::string>, Metric*> members_;
};

prometheus::Registry& metrics_registry() {
  static prometheus::Registry* const registry =
      new prometheus::Registry(prometheus::Registry::InsertBehavior::Merge);
  return *registry;
}

}  // namespace

std::string metrics_text() {
  {
    const std::lock_guard lock(hooks().mutex);
    for (const auto& [id, update] : hooks().updates) update();
  }
  return prometheus::TextSerializer().Serialize(metrics_registry().Collect());
}

struct CounterFamily::Impl {
  Members<prometheus::Counter> members;
};
CounterFamily::CounterFamily(const std::string& name, const std::string& help,
                             std::vector<std::string> labels, size_t most) {
  const bool alone = labels.empty();
  auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(metrics_registry());
  impl_.reset(new Impl{{family, std::move(labels), most}});
  if (alone) add({}, 0);  // there from the start
}
CounterFamily::~CounterFamily() = default;
void CounterFamily::add(LabelValues values, double amount) {
  impl_->members.at(values).Increment(amount);
}

void CounterFamily::raise_to(LabelValues values, double total) {
  auto& member = impl_->members.at(values);
  const double more = total - member.Value();
  if (more > 0) member.Increment(more);
}

struct GaugeFamily::Impl {
  Members<prometheus::Gauge> members;
};
GaugeFamily::GaugeFamily(const std::string& name, const std::string& help,
                         std::vector<std::string> labels, size_t most) {
  const bool alone = labels.empty();
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(metrics_registry());
  impl_.reset(new Impl{{family, std::move(labels), most}});
  if (alone) set(0);
}
GaugeFamily::~GaugeFamily() = default;
void GaugeFamily::set(LabelValues values, double value) { impl_->members.at(values).Set(value); }
void GaugeFamily::clear() { impl_->members.clear(); }

struct HistogramFamily::Impl {
  Members<prometheus::Histogram> members;
  std::vector<double> bounds;
};
HistogramFamily::HistogramFamily(const std::string& name, const std::string& help,
                                 std::vector<std::string> labels, std::vector<double> bounds,
                                 size_t most) {
  auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(metrics_registry());
  const bool alone = labels.empty();
  impl_.reset(new Impl{{family, std::move(labels), most}, std::move(bounds)});
  if (alone) impl_->members.at({}, impl_->bounds);
}
HistogramFamily::~HistogramFamily() = default;
void HistogramFamily::observe(LabelValues values, double value) {
  impl_->members.at(values, impl_->bounds).Observe(value);
}
std::vector<double> HistogramFamily::durations() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}

ScrapeHook::ScrapeHook(std::function<void()> update) {
  const std::lock_guard lock(hooks().mutex);
  id_ = hooks().next++;
  hooks().updates.emplace(id_, std::move(update));
}
ScrapeHook::~ScrapeHook() {
  const std::lock_guard lock(hooks().mutex);
  hooks().updates.erase(id_);
}

}  // namespace trunkline::telemetry
