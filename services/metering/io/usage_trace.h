// The events of the log that a line of usage came from. One connection; not thread-safe. Throws
// eventlog::LogUnavailable.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "eventlog/recorded_event.h"
#include "metering/domain/usage_line.h"

namespace trunkline::metering {

struct TracePage {
  std::vector<std::string> events;  // as `GET …/events` of an instance shows them
  int64_t next_position = 0;        // 0: no more
};

struct CloseMark {
  int64_t position = 0;
  int64_t recorded_ms = 0;
};

class UsageTrace {
 public:
  explicit UsageTrace(std::string log_dsn);

  // `last_position`: of the newest record of the line, 0 where it is not known. `hosts`: of the
  // line's nodes.
  TracePage events_of(const UsageLine& line, const std::vector<std::string>& hosts,
                      int64_t last_position, int64_t after_position, size_t limit);

  // The first close after a position; nothing if there is none.
  std::optional<CloseMark> next_close(int64_t after_position);
  // Where windows were closed up to at a position of the log; the smallest number if none was.
  int64_t closed_until(int64_t position);

 private:
  using Session = pqxx::nontransaction;
  template <class Work>
  auto ask(Work work);
  std::vector<std::string> proxy_streams(Session& session);
  std::vector<eventlog::RecordedEvent> of_instance(const UsageLine& line, int64_t after,
                                                  size_t limit);
  std::vector<eventlog::RecordedEvent> of_sources(const UsageLine& line,
                                                  const std::vector<std::string>& hosts,
                                                  int64_t last_position, int64_t after,
                                                  size_t limit);

  const std::string dsn_;
  std::unique_ptr<pqxx::connection> connection_;
  std::map<std::string, bool> is_proxy_;  // streams of usage, by name
};

}  // namespace trunkline::metering
