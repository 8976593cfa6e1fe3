// Looks once a second at what alerts are judged by, says in the log what is raised and cleared, and
// tells what is raised. Alerts live in memory: after a start they are raised anew once they have
// been wrong for long enough. Public methods are thread-safe and do not block.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "lookup/domain/alert_facts.h"
#include "lookup/domain/alerts.h"
#include "lookup/io/log_access.h"
#include "lookup/io/read_model.h"

namespace trunkline::lookup {

class AlertBoard {
 public:
  struct Options {
    std::string log_dsn;
    std::string read_model_dsn;
    std::function<int64_t()> relayed;    // position
    std::function<int64_t()> projected;  // position
    std::chrono::milliseconds look_every{1000};
  };
  explicit AlertBoard(Options options);
  ~AlertBoard();
  AlertBoard(const AlertBoard&) = delete;
  AlertBoard& operator=(const AlertBoard&) = delete;

  void take_report(const v1::HostReport& report);
  void take_change(const Change& change);

  std::vector<Alert> raised() const;

 private:
  void run();
  void look();
  void read_documents();
  LogFigures read_figures();

  const Options options_;
  LogAccess log_;     // of the thread
  ReadModel model_;   // of the thread
  int64_t head_ = 0;  // of the log at the last look
  std::vector<TroubledWebhook> webhooks_;  // of the thread
  mutable std::mutex mutex_;
  AlertFacts facts_;
  AlertBook book_;
  bool has_read_ = false;
  std::unordered_set<DocKey> changed_;  // until then
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace trunkline::lookup
