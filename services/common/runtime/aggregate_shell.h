// The one shell around every pure aggregate: read, fold, decide, append, fold on. Lives on one
// shard; not thread-safe.
//
// `Aggregate` names the pure parts:
//   using State; using Command; using Event; using Facts;
//   static constexpr const char* kName;                       // of the stream: "instance"
//   static State initial(const std::string& uuid);
//   static Decision<Event> decide(const State&, const Command&, const Facts&, TimePoint now);
//   static void evolve(State&, const Event&, TimePoint recorded_at);
#pragma once

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <variant>

#include "base/decision.h"
#include "base/digest.h"
#include "bus/streams.h"
#include "eventlog/log.h"
#include "runtime/audit.h"
#include "runtime/command_body.h"
#include "runtime/random.h"
#include "telemetry/attributes.h"
#include "telemetry/telemetry.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::runtime {

template <class Aggregate>
class AggregateShell {
 public:
  using State = typename Aggregate::State;
  using Command = typename Aggregate::Command;
  using Event = typename Aggregate::Event;
  using Facts = typename Aggregate::Facts;

  struct Entry {
    State state;
    int64_t version = 0;
    std::string hash = std::string(32, '\0');  // of the newest event
    std::string poison;                        // why nothing more is folded or decided, if set
  };

  AggregateShell(eventlog::Log& log, bus::Bus& bus) : log_(log), bus_(bus) {}

  // Decides `body` and appends the decision. With `record`, the command's id makes it safe to ask
  // again: the first answer is kept and given again. Throws LogUnavailable (in doubt).
  v1::CommandAnswer handle(const v1::Command& command, const Command& body, const Facts& facts,
                           bool record);

  // Folds an event that came by the feed. True if the state changed: false for what handle() has
  // folded already. Reads the stream from the log where something is missing.
  bool apply(const eventlog::RecordedEvent& event);

  Entry* find(const std::string& uuid) {
    const auto found = entries_.find(uuid);
    return found == entries_.end() ? nullptr : &found->second;
  }
  // Made with its initial state if it is not there.
  Entry& at(const std::string& uuid) {
    const auto [found, is_new] = entries_.try_emplace(uuid);
    if (is_new) found->second.state = Aggregate::initial(uuid);
    return found->second;
  }
  std::unordered_map<std::string, Entry>& entries() { return entries_; }

 private:
  static constexpr int kMaxConflicts = 8;

  void fold(Entry& entry, const eventlog::RecordedEvent& event) {
    Event parsed;
    if (!parsed.ParseFromString(event.payload)) {
      entry.poison = "event " + std::to_string(event.position) + " cannot be parsed";
      spdlog::error("{} is put aside: {}", event.stream, entry.poison);
      return;
    }
    Aggregate::evolve(entry.state, parsed, event.recorded_at);
    entry.version = event.version;
    entry.hash = event.hash;
  }

  void catch_up(const std::string& stream, Entry& entry) {
    try {
      for (const auto& event : log_.read_stream(stream, entry.version, entry.hash)) {
        fold(entry, event);
        if (!entry.poison.empty()) return;
      }
    } catch (const eventlog::LogCorrupt& error) {
      entry.poison = error.what();
      spdlog::error("{} is put aside: {}", stream, entry.poison);
    }
  }

  v1::CommandAnswer answer_again(const v1::Command& command, const std::string& stream,
                                 const Command& body, const eventlog::CommandResult& result);

  // Of what is asked and of whom: the same body for another aggregate is another request.
  static std::string request_hash(const std::string& stream, const Command& body) {
    return sha256(stream + '\n' + body.SerializeAsString());
  }
  bool is_same_request(const v1::Command& command, const std::string& stream, const Command& body,
                       const eventlog::CommandResult& result) {
    if (result.request_hash == request_hash(stream, body)) return true;
    // Hashes of a time when they covered the body only.
    if (result.request_hash != sha256(body.SerializeAsString())) return false;
    v1::CommandAnswer answer;
    if (!answer.ParseFromString(result.answer) || !answer.has_accepted()) return true;
    return std::ranges::any_of(log_.read_stream(stream, 0), [&](const auto& event) {
      return event.metadata.command_id == command.command_id();
    });
  }

  eventlog::Log::AppendOutcome append(const eventlog::Log::AppendRequest& request) {
    telemetry::Span span("log.append", telemetry::SpanKind::client);
    span.set(telemetry::kDbSystem, "postgresql");
    span.set(telemetry::kDbNamespace, "trunkline_log");
    span.set(telemetry::kDbOperation, "log.append");
    auto outcome = log_.append(request);
    if (outcome.conflict) span.set(telemetry::kOutcome, "conflict");
    if (outcome.duplicate) span.set(telemetry::kOutcome, "duplicate");
    return outcome;
  }

  static void describe(telemetry::Span& span, const v1::CommandAnswer& answer,
                       const std::vector<eventlog::NewEvent>& events) {
    std::string types;
    for (const auto& event : events) types += (types.empty() ? "" : ",") + event.type;
    switch (answer.outcome_case()) {
      case v1::CommandAnswer::kAccepted:
        span.set(telemetry::kOutcome, "accepted");
        span.set(telemetry::kPosition, static_cast<int64_t>(answer.accepted().position()));
        span.set("trunkline.events", types);
        break;
      case v1::CommandAnswer::kIgnored:
        span.set(telemetry::kOutcome, "ignored");
        break;
      case v1::CommandAnswer::kRejected:
        span.set(telemetry::kOutcome, "rejected");
        span.set(telemetry::kRejected, answer.rejected().rule());
        break;
      case v1::CommandAnswer::kUnavailable:
        span.set(telemetry::kOutcome, "unavailable");
        span.fail("unavailable", answer.unavailable().why());
        break;
      case v1::CommandAnswer::OUTCOME_NOT_SET:
        break;
    }
  }

  eventlog::Log& log_;
  bus::Bus& bus_;
  std::unordered_map<std::string, Entry> entries_;
};

template <class Aggregate>
v1::CommandAnswer AggregateShell<Aggregate>::handle(const v1::Command& command,
                                                    const Command& body, const Facts& facts,
                                                    bool record) {
  const std::string stream = eventlog::stream_name(Aggregate::kName, command.aggregate_id());
  telemetry::Span span(std::string("decide ") + oneof_name(body), telemetry::SpanKind::internal,
                       command.traceparent());
  span.set(telemetry::kStream, stream);
  span.set(telemetry::kCommandId, command.command_id());
  const bool is_new = !entries_.contains(command.aggregate_id());
  Entry& entry = at(command.aggregate_id());
  if (is_new) catch_up(stream, entry);
  eventlog::Log::AppendRequest append;
  append.stream = stream;
  append.metadata = {command.command_id(), command.causation_id(), command.correlation_id(),
                     command.actor(), span.traceparent()};
  append.record_result = record;
  append.result.request_hash = request_hash(stream, body);

  v1::CommandAnswer answer;
  for (int attempt = 0; attempt < kMaxConflicts; ++attempt) {
    if (!entry.poison.empty()) {
      answer.mutable_unavailable()->set_why(stream + " is put aside: " + entry.poison);
      break;
    }
    const Decision<Event> decision = Aggregate::decide(entry.state, body, facts, now());
    answer = answer_of(decision);
    answer.set_command_id(command.command_id());
    append.events.clear();
    if (const auto* events = std::get_if<std::vector<Event>>(&decision)) {
      for (const Event& event : *events) {
        append.events.push_back({oneof_name(event), 1, event.SerializeAsString()});
      }
    }
    if (append.events.empty() && !record) break;
    append.expected_version = entry.version;
    append.result.answer = answer.SerializeAsString();
    if (record) append.result.audit = audit_json(command, stream, oneof_name(body), answer);
    const auto outcome = this->append(append);
    if (outcome.duplicate) {
      answer = answer_again(command, stream, body, outcome.duplicate->result);
      break;
    }
    if (outcome.conflict) {
      catch_up(stream, entry);
      answer.mutable_unavailable()->set_why("too many writers on " + stream);
      continue;
    }
    for (const auto& event : outcome.appended->events) fold(entry, event);
    if (!outcome.appended->events.empty()) {
      answer.mutable_accepted()->set_position(
          static_cast<uint64_t>(outcome.appended->last_position));
      answer.mutable_accepted()->set_version(static_cast<uint64_t>(entry.version));
      try {
        bus_.publish(bus::kAppendedSubject, "");
      } catch (const bus::BusUnavailable&) {  // the relay looks by itself, a little later
      }
    }
    break;
  }
  describe(span, answer, append.events);
  if (entry.version == 0 && entry.poison.empty()) entries_.erase(command.aggregate_id());
  return answer;
}

template <class Aggregate>
v1::CommandAnswer AggregateShell<Aggregate>::answer_again(const v1::Command& command,
                                                          const std::string& stream,
                                                          const Command& body,
                                                          const eventlog::CommandResult& result) {
  v1::CommandAnswer answer;
  answer.set_command_id(command.command_id());
  if (!is_same_request(command, stream, body, result)) {
    auto* rejected = answer.mutable_rejected();
    rejected->set_rule("idempotency_key_reused");
    rejected->set_message("this idempotency key was used before with another request");
    rejected->set_blame(v1::BLAME_CONFLICT);
    return answer;
  }
  answer.ParseFromString(result.answer);
  if (answer.has_accepted()) {
    if (const auto events = log_.command_events(command.command_id())) {
      answer.mutable_accepted()->set_position(static_cast<uint64_t>(events->last_position));
      answer.mutable_accepted()->set_version(static_cast<uint64_t>(events->last_version));
    }
  }
  return answer;
}

template <class Aggregate>
bool AggregateShell<Aggregate>::apply(const eventlog::RecordedEvent& event) {
  Entry& entry = at(eventlog::uuid_of(event.stream));
  if (event.version <= entry.version || !entry.poison.empty()) return false;
  const bool next = event.version == entry.version + 1 && event.previous_hash == entry.hash &&
                    eventlog::compute_hash(event) == event.hash;
  if (next) {
    fold(entry, event);
  } else {
    catch_up(event.stream, entry);
  }
  return true;
}

}  // namespace trunkline::runtime
