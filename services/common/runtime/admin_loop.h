// What operators ask of a service on tl.admin.<service>, JSON in and out: {"op": NAME, …}. An
// answer has "ok" and, if that is false, "error". One request after the other, on a thread of its
// own; a long one is answered when it is done.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "bus/bus.h"
#include "runtime/work_pool.h"

namespace trunkline::runtime {

struct AdminOp {
  std::string name;
  // The answer, an object without "ok", to the whole request. What it throws is the error.
  std::function<nlohmann::json(const nlohmann::json& asked)> run;
};

class AdminLoop {
 public:
  AdminLoop(bus::Bus& bus, std::vector<AdminOp> ops);

  // For the subscription's callback; the answer goes to the message's reply subject. Thread-safe;
  // does not block.
  void take(bus::Message&& message);
  // The answer to one request. Not thread-safe.
  std::string handle(const std::string& request) const;

 private:
  bus::Bus& bus_;
  const std::vector<AdminOp> ops_;
  WorkPool<std::monostate> pool_;
};

}  // namespace trunkline::runtime
