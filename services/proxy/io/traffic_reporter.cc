#include "proxy/io/traffic_reporter.h"

#include "bus/streams.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kMostAPart = 1'500;  // of less than 350 bytes each
constexpr std::chrono::seconds kWholeEvery{60};

}  // namespace

TrafficReporter::TrafficReporter(bus::Bus& bus, TrafficMeter& meter, TrafficReporterOptions options)
    : bus_(bus), meter_(meter), options_(std::move(options)) {
  report();
  ticker_ = std::make_unique<runtime::Ticker>(options_.every, [this] { report(); });
}

TrafficReporter::~TrafficReporter() {
  ticker_.reset();
  report();
}

void TrafficReporter::report() {
  const std::lock_guard lock(mutex_);
  const auto steady_now = std::chrono::steady_clock::now();
  const bool whole = whole_next_ || steady_now >= whole_at_;
  meter_.settle();
  whole_next_ = true;  // unless all of it is on its way
  const uint64_t sequence = meter_.next_sequence();
  try {
    for (auto& report : rounds_.round(meter_.totals(), whole, kMostAPart)) {
      report.set_proxy_id(options_.proxy_id);
      report.set_epoch(meter_.epoch());
      report.set_sequence(sequence);
      bus_.publish(bus::traffic_subject(options_.proxy_id), report.SerializeAsString());
    }
  } catch (const bus::BusUnavailable&) {
    return;
  }
  whole_next_ = false;
  if (whole) whole_at_ = steady_now + kWholeEvery;
}

}  // namespace trunkline::proxy
