// GET /metrics on a loopback address, for Prometheus. One thread, which waits for no client: of the
// 64 that are served at once the oldest goes when another comes, and each after a second.
#pragma once

#include <memory>
#include <string>

namespace trunkline::telemetry {

class MetricsServer {
 public:
  // `listen`: "127.0.0.1:9101"; "" shows nothing. An address that is taken is logged and costs the
  // process its metrics, nothing else. Also shows the process's own use of the machine.
  explicit MetricsServer(const std::string& listen);
  ~MetricsServer();
  bool up() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::telemetry
