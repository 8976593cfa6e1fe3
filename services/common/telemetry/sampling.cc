#include "telemetry/sampling.h"

#include <charconv>
#include <cmath>

namespace trunkline::telemetry {
namespace {

std::optional<double> ratio_of(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!(value >= 0) || value > 1) return std::nullopt;
  return value;
}

}  // namespace

Sampling read_sampling(std::string_view sampler, std::string_view argument, std::string* why_not) {
  Sampling sampling;
  why_not->clear();
  constexpr std::string_view kParentBased = "parentbased_";
  std::string_view own = sampler.empty() ? "parentbased_traceidratio" : sampler;
  sampling.parent_based = own.starts_with(kParentBased);
  if (sampling.parent_based) own.remove_prefix(kParentBased.size());
  if (own == "always_on") {
    sampling.ratio = 1;
  } else if (own == "always_off") {
    sampling.off = true;
  } else if (own == "traceidratio") {
    const auto ratio = ratio_of(argument);
    if (ratio) sampling.ratio = *ratio;
    if (!ratio && !argument.empty()) *why_not = "OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1";
  } else {
    *why_not = "OTEL_TRACES_SAMPLER is not known";
    sampling = {};
  }
  return sampling;
}

bool is_sampled(const Sampling& sampling, std::optional<bool> parent_sampled, Weight weight,
                uint64_t trace_number) {
  if (sampling.parent_based && parent_sampled) return *parent_sampled;
  if (sampling.off) return false;
  if (weight == Weight::change) return true;
  // Without the last bits, which a double cannot hold.
  return std::ldexp(static_cast<double>(trace_number >> 11), -53) < sampling.ratio;
}

}  // namespace trunkline::telemetry
