#include "proxy/io/traffic_meter.h"

#include <spdlog/spdlog.h>

namespace trunkline::proxy {
namespace {

std::chrono::microseconds now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

EndpointMeter::EndpointMeter(EndpointName name, TrafficCell* cell)
    : name_(std::move(name)), cell_(cell != nullptr ? cell : &own_) {}

void EndpointMeter::session_opened() {
  const std::lock_guard lock(mutex_);
  cell_->connection_us.fetch_add(clock_.opened(now()), std::memory_order_relaxed);
  cell_->connections_opened.fetch_add(1, std::memory_order_relaxed);
}

void EndpointMeter::session_closed() {
  const std::lock_guard lock(mutex_);
  cell_->connection_us.fetch_add(clock_.closed(now()), std::memory_order_relaxed);
}

void EndpointMeter::ties_changed(const TieSet& before, const TieSet& now) {
  if (before == now) return;
  const std::lock_guard lock(mutex_);
  if (!now.empty()) ++tied_sessions_;
  if (!before.empty()) --tied_sessions_;
  for (size_t i = 0; i < kTies; ++i) {
    const Tie tie{static_cast<uint8_t>(i)};
    if (now.has(tie)) ++tied_[i];
    if (before.has(tie)) --tied_[i];
  }
}

void EndpointMeter::settle() {
  const std::lock_guard lock(mutex_);
  if (clock_.open() == 0) return;
  cell_->connection_us.fetch_add(clock_.settle(now()), std::memory_order_relaxed);
}

EndpointTotals EndpointMeter::totals() const {
  const std::lock_guard lock(mutex_);
  return {name_,
          {cell_->bytes_in.load(), cell_->bytes_out.load(), cell_->connections_opened.load(),
           cell_->connection_us.load(), clock_.open(), tied_, tied_sessions_}};
}

TrafficMeter::TrafficMeter(const std::string& file) : file_(file) {
  for (size_t i = 0; i < file_.size(); ++i) {
    TrafficCell& cell = file_.at(i);
    const auto kind = cell.read_only ? EndpointKind::read_only : EndpointKind::read_write;
    const InstanceId instance(std::string(cell.instance, strnlen(cell.instance, 36)));
    auto& meter = meters_.emplace_back(EndpointName{instance, kind}, &cell);
    by_endpoint_.emplace(std::pair(instance, kind), &meter);
  }
}

EndpointMeter& TrafficMeter::of(const EndpointName& endpoint) {
  const std::lock_guard lock(mutex_);
  auto& place = by_endpoint_[{endpoint.instance, endpoint.kind}];
  if (place == nullptr) {
    TrafficCell* const cell = file_.add(endpoint);
    if (cell == nullptr) {
      spdlog::error("there is no room for what is counted of instance {}: a kill would lose it",
                    endpoint.instance.str());
    }
    place = &meters_.emplace_back(endpoint, cell);
  }
  return *place;
}

void TrafficMeter::settle() {
  const std::lock_guard lock(mutex_);
  for (auto& meter : meters_) meter.settle();
}

std::vector<EndpointTotals> TrafficMeter::totals() const {
  const std::lock_guard lock(mutex_);
  std::vector<EndpointTotals> out;
  out.reserve(meters_.size());
  for (const auto& meter : meters_) out.push_back(meter.totals());
  return out;
}

}  // namespace trunkline::proxy
