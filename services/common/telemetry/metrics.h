// Metrics of this process, as Prometheus counts: counters, gauges and histograms in one registry.
// Families are made once, where they are used, and live as long as the process. Names and labels
// follow Prometheus' conventions (trunkline_…_total, …_seconds, …_bytes). Thread-safe; nothing here
// throws but the families' constructors on names that are not allowed.
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace trunkline::telemetry {

// Values of a family's labels, in their order. Words of ours or of a bounded set: a family takes
// `most` different ones, and counts all others under "other".
using LabelValues = std::initializer_list<std::string_view>;

class CounterFamily {
 public:
  CounterFamily(const std::string& name, const std::string& help,
                std::vector<std::string> labels = {}, size_t most = 300);
  ~CounterFamily();
  void add(LabelValues values = {}, double amount = 1);
  // For what is counted elsewhere and never goes back: shows `total` from now on.
  void raise_to(LabelValues values, double total);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class GaugeFamily {
 public:
  GaugeFamily(const std::string& name, const std::string& help,
              std::vector<std::string> labels = {}, size_t most = 300);
  ~GaugeFamily();
  void set(double value) { set({}, value); }
  void set(LabelValues values, double value);
  // Forgets all values: for what is set anew at every scrape and may be gone.
  void clear();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class HistogramFamily {
 public:
  // `bounds`: upper bounds of the buckets, growing.
  HistogramFamily(const std::string& name, const std::string& help,
                  std::vector<std::string> labels = {}, std::vector<double> bounds = durations(),
                  size_t most = 300);
  ~HistogramFamily();
  void observe(double value) { observe({}, value); }
  void observe(LabelValues values, double value);
  // Of what takes milliseconds, in seconds.
  static std::vector<double> durations();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `update` is called before every scrape, on a thread of the server, until the handle is gone; it
// sets gauges from what is at hand and must not wait.
class ScrapeHook {
 public:
  explicit ScrapeHook(std::function<void()> update);
  ~ScrapeHook();
  ScrapeHook(const ScrapeHook&) = delete;
  ScrapeHook& operator=(const ScrapeHook&) = delete;

 private:
  uint64_t id_;
};

// All metrics in the text format, after the hooks have run.
std::string metrics_text();

}  // namespace trunkline::telemetry
