// Questions to a service over the bus (lookup, metering, replication). Thread-safe; callbacks come
// on a thread of the bus, exactly once, or within the call when the bus is away.
//
// The same question is under way once at a time: whoever asks it meanwhile waits for the next one,
// which is asked for all of them together. So each gets an answer from after its question, and
// many clients that watch one instance cost the bus no more than one.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bus/bus.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::gateway {

class LookupClient {
 public:
  LookupClient(bus::Bus& bus, std::string subject, std::chrono::milliseconds patience)
      : bus_(bus), subject_(std::move(subject)), patience_(patience) {}
  const std::string& subject() const { return subject_; }

  // Nothing: the service did not answer in time, or what came is no answer.
  using Callback = std::function<void(std::optional<v1::QueryAnswer>)>;
  void ask(v1::Query query, Callback callback);

 private:
  struct Asked {
    std::string bytes;
    std::vector<Callback> callbacks;
  };
  void send(const std::string& key, Asked asked);
  void on_answer(const std::string& key, std::vector<Callback>& callbacks,
                 std::optional<v1::QueryAnswer> answer);

  bus::Bus& bus_;
  const std::string subject_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  // Questions under way; who waits for the next one, if anybody.
  std::unordered_map<std::string, Asked> under_way_;
};

}  // namespace trunkline::gateway
