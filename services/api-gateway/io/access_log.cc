#include "api-gateway/io/access_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace trunkline::gateway {
namespace {

constexpr std::chrono::seconds kSumFor{1};
constexpr double kQuickMs = 100;
constexpr size_t kMostSums = 1000;

std::string_view or_dash(std::string_view text) { return text.empty() ? "-" : text; }

}  // namespace

void AccessLog::note(const Line& line) {
  const double took_ms = line.took.count();
  if (line.method != "GET" || line.status != 200 || took_ms > kQuickMs) {
    spdlog::info("{} {} {} {:.1f} ms token {} trace {}", line.method, line.route, line.status,
                 took_ms, or_dash(line.token_id), line.trace_id);
    return;
  }
  Sums due;
  {
    const std::lock_guard lock(mutex_);
    Sum& sum = sums_[{std::string(line.route), std::string(line.token_id)}];
    ++sum.count;
    sum.total_ms += took_ms;
    sum.longest_ms = std::max(sum.longest_ms, took_ms);
    const auto now = Clock::now();
    if (now - written_ < kSumFor && sums_.size() < kMostSums) return;
    written_ = now;
    due.swap(sums_);
  }
  write(due);
}

void AccessLog::flush() {
  Sums due;
  {
    const std::lock_guard lock(mutex_);
    due.swap(sums_);
  }
  write(due);
}

void AccessLog::write(const Sums& sums) {
  for (const auto& [key, sum] : sums) {
    spdlog::info("GET {} 200 {} times, mean {:.1f} ms, longest {:.1f} ms, token {}", key.first,
                 sum.count, sum.total_ms / static_cast<double>(sum.count), sum.longest_ms,
                 or_dash(key.second));
  }
}

}  // namespace trunkline::gateway
