#include "bus/streams.h"

#include <nlohmann/json.hpp>

namespace trunkline::bus {
namespace {

using nlohmann::json;

constexpr int64_t kSecondNs = 1'000'000'000;

// Creating what exists with the same configuration is answered as success. One that exists with
// another configuration is updated.
void ensure(Bus& bus, const std::string& name, const json& config) {
  const std::string text = config.dump();
  json answer = json::parse(bus.jetstream_api("STREAM.CREATE." + name, text), nullptr, false);
  if (answer.is_object() && answer.contains("error")) {
    answer = json::parse(bus.jetstream_api("STREAM.UPDATE." + name, text), nullptr, false);
  }
  if (!answer.is_object() || answer.contains("error")) {
    throw BusUnavailable("stream " + name + ": " + answer.dump());
  }
}

}  // namespace

void ensure_command_stream(Bus& bus) {
  ensure(bus, kCommandStream,
         {{"name", kCommandStream},
          {"subjects", {"tl.cmd.>"}},
          {"retention", "workqueue"},
          {"storage", "file"},
          {"discard", "new"},
          {"max_msgs", 200'000},
          {"max_bytes", 512 * 1024 * 1024},
          {"max_age", 24 * 3600 * kSecondNs},
          {"max_consumers", -1},
          {"max_msg_size", 1024 * 1024},
          {"num_replicas", 1}});
}

void ensure_event_stream(Bus& bus) {
  ensure(bus, kEventStream,
         {{"name", kEventStream},
          {"subjects", {"tl.evt.>"}},
          {"retention", "limits"},
          {"storage", "file"},
          {"discard", "old"},
          {"max_msgs", -1},
          {"max_bytes", int64_t{1024} * 1024 * 1024},
          {"max_consumers", -1},
          {"max_msg_size", 1024 * 1024},
          {"num_replicas", 1}});
}

std::string command_delivery_subject(const std::string& service) { return "tl.deliver." + service; }

void ensure_command_consumer(Bus& bus, const std::string& service) {
  const json config = {{"durable_name", service},
                       {"deliver_subject", command_delivery_subject(service)},
                       {"deliver_group", service},
                       {"deliver_policy", "all"},
                       {"ack_policy", "explicit"},
                       {"ack_wait", 3 * kSecondNs},
                       {"max_deliver", -1},
                       {"max_ack_pending", 512},
                       {"filter_subject", "tl.cmd." + service + ".>"},
                       {"replay_policy", "instant"}};
  const json request = {{"stream_name", kCommandStream}, {"config", config}};
  const std::string call =
      std::string("CONSUMER.DURABLE.CREATE.") + kCommandStream + "." + service;
  const json answer = json::parse(bus.jetstream_api(call, request.dump()), nullptr, false);
  // 10013: the consumer exists already; it is bound to our queue group and goes on.
  constexpr int kConsumerExists = 10013;
  if (answer.is_object() && answer.contains("error") &&
      answer["error"].value("err_code", 0) != kConsumerExists) {
    throw BusUnavailable("consumer " + service + ": " + answer["error"].dump());
  }
}

}  // namespace trunkline::bus
