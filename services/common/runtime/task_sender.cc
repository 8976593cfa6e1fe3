#include "runtime/task_sender.h"

#include <spdlog/spdlog.h>

#include "bus/streams.h"
#include "bus/too_large.h"
#include "runtime/command_body.h"
#include "telemetry/attributes.h"
#include "telemetry/messaging.h"
#include "telemetry/telemetry.h"

namespace trunkline::runtime {

void TaskSender::send(const std::string& host, const v1::Task& task) {
  const auto now = Clock::now();
  const auto [at, first] = sent_.try_emplace(task.task_id(), now);
  if (!first && now - at->second < kRepeatAfter) return;
  at->second = now;
  forget_old(now);
  try {
    if (!first || !telemetry::is_traceparent(task.traceparent())) {
      bus_.publish(bus::task_subject(host), task.SerializeAsString());
      return;
    }
    telemetry::Span span("send " + oneof_name(task), telemetry::SpanKind::producer,
                         task.traceparent());
    telemetry::describe_message(span, bus::task_subject(host), "send", "publish");
    span.set(telemetry::kTaskId, task.task_id());
    span.set(telemetry::kNodeId, task.node_id());
    span.set(telemetry::kHost, host);
    v1::Task traced = task;
    traced.set_traceparent(span.traceparent());
    bus_.publish(bus::task_subject(host), traced.SerializeAsString());
  } catch (const bus::MessageTooLarge& error) {
    spdlog::error("task {} cannot be sent: {}", task.task_id(), error.what());
  } catch (const bus::BusUnavailable& error) {
    spdlog::debug("task {} is sent later: {}", task.task_id(), error.what());
    sent_.erase(task.task_id());
  }
}

void TaskSender::forget_old(Clock::time_point now) {
  if (sent_.size() < kForgetAt) return;
  std::erase_if(sent_, [&](const auto& entry) { return now - entry.second > 10 * kRepeatAfter; });
}

}  // namespace trunkline::runtime
