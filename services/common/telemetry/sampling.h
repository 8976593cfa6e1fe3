// Which traces are sent to the collector, decided where a trace begins. Pure.
//
// OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG mean what OpenTelemetry says of them, with one
// rule more: what changes something (a write, a reaction, a failover) is sampled whatever the
// ratio, so the ratio is that of reads. Only the always_off samplers turn it off too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline::telemetry {

inline constexpr double kReadRatio = 0.1;  // of reads, if nothing is said

struct Sampling {
  bool parent_based = true;  // where there is a parent, its decision holds
  bool off = false;          // no trace of its own begins
  double ratio = kReadRatio;
};

// `why_not` says what was not understood; the default then holds in its place.
Sampling read_sampling(std::string_view sampler, std::string_view argument, std::string* why_not);

// What kind of root a span would be.
enum class Weight { read, change };

// `parent_sampled`: nothing where there is no parent. `trace_number`: eight bytes of the trace id;
// the same for every process, so all of them decide alike.
bool is_sampled(const Sampling& sampling, std::optional<bool> parent_sampled, Weight weight,
                uint64_t trace_number);

}  // namespace trunkline::telemetry
