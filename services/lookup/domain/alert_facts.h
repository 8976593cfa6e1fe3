// What alerts are judged by: the newest reports of hosts, the documents that are not at rest, and
// figures of the log. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "lookup/domain/alerts.h"
#include "lookup/domain/documents.h"
#include "lookup/domain/troubled_webhook.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::lookup {

inline constexpr uint64_t kBehindBytes = 64ull << 20;       // raises replica_behind
inline constexpr uint64_t kNearAgainBytes = 16ull << 20;    // clears it
inline constexpr uint32_t kShortLeaseMs = 500;
inline constexpr uint32_t kManyTries = 3;
inline constexpr std::chrono::seconds kUnheard{2};          // then its reports say nothing of now

struct LogFigures {
  int64_t head = 0;       // newest position
  int64_t relayed = 0;
  int64_t projected = 0;
  size_t poison = 0;      // events put aside
  std::vector<TroubledWebhook> webhooks;
};

class AlertFacts {
 public:
  // A report that its host sent.
  void take(const v1::HostReport& report, TimePoint now);
  // A document as it was committed; those of no interest are passed over.
  void take(const Document& document);
  void forget(const DocKey& key);
  void take(const LogFigures& figures) { log_ = figures; }

  // All that is wrong now. `book` says which mark of a level counts.
  std::vector<Observed> wrong(const AlertBook& book, TimePoint now) const;

 private:
  struct Level {
    std::string subject;
    uint64_t value = 0;
    std::string detail;
  };
  struct Host {
    TimePoint heard;
    uint64_t disk_gb = 0;
    uint64_t disk_free_gb = 0;
    uint64_t files = 0;  // that its disk can hold; 0: it does not count them
    uint64_t files_free = 0;
    std::vector<Observed> wrong;  // of its nodes, but for levels
    std::vector<Level> lags;
    std::vector<std::string> instances;  // of its nodes, in order
    int64_t obeyed_position = 0;
  };
  struct Instance {
    std::string status;
    std::string failover;  // rule and why, if one is under way
    std::string group;     // its project
    std::string writes;    // why clients cannot write, if that is no failover
  };
  void look_at_host(const std::string& name, const Host& host, const AlertBook& book,
                    TimePoint now, std::vector<Observed>* out) const;
  void look_at_sharing(TimePoint now, std::vector<Observed>* out) const;
  void look_at_log(std::vector<Observed>* out) const;

  std::map<std::string, Host> hosts_;          // by name
  std::map<std::string, Instance> instances_;  // those that are not at rest
  std::map<std::string, std::string> lost_;    // hosts that are declared lost: uuid to name
  std::map<std::string, std::string> closed_;  // hosts that take no new nodes: uuid to name
  LogFigures log_;
};

}  // namespace trunkline::lookup
