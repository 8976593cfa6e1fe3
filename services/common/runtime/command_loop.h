// Takes a service's commands off the work queue, hands each to the service, sends the answer to
// whoever waits for it and acknowledges. Keeps the stream and the consumer in being: NATS may lose
// either. While a command waits for its answer the queue is told so, for up to a minute, and does
// not deliver it again; of a process that is gone it does so after three seconds.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bus/bus.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::runtime {

// What became of a command. Exactly one call a command, from any thread.
class CommandReply {
 public:
  virtual ~CommandReply() = default;
  // Decided (or surely not decided: Unavailable): answer and take it off the queue.
  virtual void answer(const v1::CommandAnswer& answer) = 0;
  // In doubt or not possible now: the queue delivers it again after a pause.
  virtual void again() = 0;
};

class CommandLoop {
 public:
  // Called on a thread of the bus; must hand the work on and return.
  using Handler = std::function<void(v1::Command&&, std::shared_ptr<CommandReply>)>;
  CommandLoop(bus::Bus& bus, std::string service, Handler handler);
  ~CommandLoop();
  CommandLoop(const CommandLoop&) = delete;
  CommandLoop& operator=(const CommandLoop&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::runtime
