// What telemetry.cc (the SDK) and span.cc (spans) share. Nobody else includes it.
#pragma once

#include <opentelemetry/trace/span_context.h>
#include <opentelemetry/trace/tracer.h>

#include "telemetry/sampling.h"

namespace trunkline::telemetry {

// What the SDK's interfaces do not pass on from where a span starts or ends to the sampler, the
// ids and the processor, all of which run on the same thread within that call.
struct SpanHooks {
  Weight weight = Weight::change;
  opentelemetry::trace::SpanContext own = opentelemetry::trace::SpanContext::GetInvalid();
  bool is_unwanted = false;
};
SpanHooks& span_hooks();

// Of the present start(); thread-safe.
opentelemetry::nostd::shared_ptr<opentelemetry::trace::Tracer> tracer();

}  // namespace trunkline::telemetry
