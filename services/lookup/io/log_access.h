// What lookup reads of the event log beside the feed: the streams of one aggregate, pages of
// history, what became of a command, and how far the log is settled. One connection; not
// thread-safe: one LogAccess a thread. Throws eventlog::LogUnavailable.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "eventlog/log.h"
#include "lookup/domain/audit.h"
#include "lookup/domain/project.h"
#include "lookup/domain/troubled_webhook.h"
#include "lookup/io/read_model.h"

namespace trunkline::lookup {

LogEvent as_log_event(const eventlog::RecordedEvent& event);

class LogAccess {
 public:
  // A statement that takes longer is ended: LogUnavailable.
  explicit LogAccess(std::string dsn,
                     std::chrono::milliseconds longest_statement = std::chrono::seconds(20));

  // Every event of the streams that make one view, in position order, up to `up_to`.
  // Throws LogCorrupt too.
  std::vector<eventlog::RecordedEvent> view_events(const StreamRef& stream, int64_t up_to);

  // Events of an instance and its group in (after, up_to], oldest first.
  std::vector<eventlog::RecordedEvent> history(const std::string& instance_id, int64_t after,
                                               int64_t up_to, size_t limit);
  // What a group's stream says of its failovers, oldest first: see failovers_json().
  std::vector<eventlog::RecordedEvent> failover_events(const std::string& instance_id,
                                                       int64_t up_to);
  // The first event of a stream; nothing if it has none.
  std::optional<eventlog::RecordedEvent> first_event(const std::string& stream);
  // The first and the last event of a command.
  struct CommandEvents {
    eventlog::RecordedEvent first;
    int64_t last_position = 0;
  };
  std::optional<CommandEvents> command_events(const std::string& command_id);
  struct CommandResult {
    std::string answer;  // serialized CommandAnswer
    TimePoint recorded_at;
    // What it was about; nothing for what was decided before this was recorded.
    std::optional<std::string> project_id;
  };
  std::optional<CommandResult> command_result(const std::string& command_id);

  // Newest first, at most `limit`; behind `after` and of `project` alone if there is one.
  std::vector<AuditRow> audit(const v1::ListAudit& wish, const std::optional<std::string>& project,
                              const std::optional<AuditPlace>& after, size_t limit);
  // Webhooks that need attention, by what metering recorded last of them.
  std::vector<TroubledWebhook> troubled_webhooks();

  // The last position of which it is certain that no event before it is still to come.
  Checkpoint settled();
  int64_t last_position();
  // True if the log holds this very event (or the checkpoint is the beginning).
  bool holds(const Checkpoint& checkpoint);

  const std::string& dsn() const { return dsn_; }

 private:
  template <class Work>
  auto with_connection(Work work);

  std::string dsn_;
  eventlog::Log log_;
  std::unique_ptr<pqxx::connection> connection_;
};

}  // namespace trunkline::lookup
