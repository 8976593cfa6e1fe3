#include "metering/io/usage_publisher.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

using nlohmann::json;
constexpr int kBatch = 256;
constexpr auto kIdle = std::chrono::milliseconds(1000);
constexpr auto kPauseAfterFailure = std::chrono::milliseconds(300);
constexpr int64_t kSecondNs = 1'000'000'000;
// A durable consumer that a billing system may take records from.
constexpr char kBillingConsumer[] = "billing";

// The answers to one batch of publishes.
struct Answers {
  std::mutex mutex;
  std::condition_variable done;
  size_t answered = 0;
  size_t stored = 0;
  std::string first_error;
};

UsageRecord record_of(const PgRows& rows, int row) {
  UsageRecord record;
  record.position = rows.number(row, 0);
  record.ordinal = static_cast<int32_t>(rows.number(row, 1));
  record.id = rows.text(row, 2);
  record.project_id = rows.text(row, 3);
  record.instance_id = rows.text(row, 4);
  record.node_id = rows.text(row, 5);
  if (record.node_id == kNoNode) record.node_id.clear();
  record.window = {rows.number(row, 6), rows.number(row, 7)};
  record.is_correction = rows.text(row, 8) == "t";
  for (size_t i = 0; i < kMeters; ++i) {
    record.amounts[i] = rows.number(row, 9 + static_cast<int>(i));
  }
  return record;
}

}  // namespace

UsagePublisher::UsagePublisher(bus::Bus& bus, Options options)
    : bus_(bus), options_(std::move(options)), thread_([this] { run(); }) {}

UsagePublisher::~UsagePublisher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void UsagePublisher::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  wake_.notify_all();
}

bool UsagePublisher::pause(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, time, [&] { return stopping_ || woken_; });
  woken_ = false;
  return !stopping_;
}

void UsagePublisher::run() {
  while (pause(kPauseAfterFailure)) {
    try {
      if (options_.may_publish()) publish_from(read_tail());
    } catch (const std::exception& error) {
      spdlog::warn("usage is not published now: {}", error.what());
    }
  }
}

void UsagePublisher::ensure_stream() {
  const std::string stream = kUsageStream;
  const json config = {{"name", stream},
                       {"subjects", {"tl.usage.>"}},
                       {"retention", "limits"},
                       {"storage", "file"},
                       {"discard", "old"},
                       {"max_msgs", -1},
                       {"max_bytes", options_.stream_bytes},
                       {"max_consumers", -1},
                       {"max_msg_size", 64 * 1024},
                       {"duplicate_window", 120 * kSecondNs},
                       {"num_replicas", 1}};
  json answer = json::parse(bus_.jetstream_api("STREAM.CREATE." + stream, config.dump()), nullptr,
                            false);
  if (answer.is_object() && answer.contains("error")) {
    answer = json::parse(bus_.jetstream_api("STREAM.UPDATE." + stream, config.dump()), nullptr,
                         false);
  }
  if (!answer.is_object() || answer.contains("error")) {
    throw bus::BusUnavailable("stream " + stream + ": " + answer.dump());
  }
  const json consumer = {{"stream_name", stream},
                         {"config",
                          {{"durable_name", kBillingConsumer},
                           {"deliver_policy", "all"},
                           {"ack_policy", "explicit"},
                           {"ack_wait", 30 * kSecondNs},
                           {"max_deliver", -1},
                           {"max_ack_pending", 10'000},
                           {"replay_policy", "instant"}}}};
  bus_.jetstream_api("CONSUMER.DURABLE.CREATE." + stream + "." + kBillingConsumer,
                     consumer.dump());
}

UsagePublisher::Tail UsagePublisher::read_tail() {
  ensure_stream();
  const std::string stream = kUsageStream;
  const json info = json::parse(bus_.jetstream_api("STREAM.INFO." + stream, ""));
  if (!info.contains("state")) throw bus::BusUnavailable("no state of " + stream);
  Tail tail;
  tail.sequence = info["state"].value("last_seq", uint64_t{0});
  if (info["state"].value("messages", uint64_t{0}) == 0) return tail;
  const json got = json::parse(
      bus_.jetstream_api("STREAM.MSG.GET." + stream, json{{"seq", tail.sequence}}.dump()));
  if (!got.contains("message")) throw bus::BusUnavailable("no last message of " + stream);
  const auto headers = unbase64(got["message"].value("hdrs", std::string()));
  const std::string name = std::string(kUsageOrderHeader) + ": ";
  const size_t at = headers ? headers->find(name) : std::string::npos;
  long long position = 0, ordinal = -1;
  if (at == std::string::npos ||
      std::sscanf(headers->c_str() + at + name.size(), "%lld.%lld", &position, &ordinal) != 2) {
    throw bus::BusUnavailable("the last message of " + stream + " is none of ours");
  }
  tail.position = position;
  tail.ordinal = ordinal;
  return tail;
}

std::vector<UsageRecord> UsagePublisher::next(PgSession& session, const Tail& tail) {
  const std::string columns =
      "position, ordinal, id, project_id, instance_id, node_id, window_start_ms, window_end_ms, "
      "is_correction, " + meter_columns();
  const PgRows rows = session.query(
      "SELECT " + columns + " FROM " + std::string(kUsageSchema) +
          ".record WHERE (position, ordinal) > ($1::bigint, $2::integer) "
          "ORDER BY position, ordinal LIMIT " + std::to_string(kBatch),
      {std::to_string(tail.position), std::to_string(tail.ordinal)});
  std::vector<UsageRecord> records;
  for (int i = 0; i < rows.size(); ++i) records.push_back(record_of(rows, i));
  return records;
}

void UsagePublisher::publish_from(Tail tail) {
  PgSession session(options_.metering_dsn);
  while (options_.may_publish()) {
    const auto batch = next(session, tail);
    if (batch.empty()) {
      if (!pause(kIdle) || !is_still(tail)) return;
    } else if (!publish(batch, &tail)) {
      return;
    }
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
}

// A wiped stream shows only when somebody looks.
bool UsagePublisher::is_still(const Tail& tail) {
  const json info = json::parse(
      bus_.jetstream_api(std::string("STREAM.INFO.") + kUsageStream, ""), nullptr, false);
  return info.is_object() && info.contains("state") &&
         info["state"].value("last_seq", uint64_t{0}) == tail.sequence;
}

// Every message names the sequence that must be the last, so after one that is refused the rest of
// the batch is refused too. True: all are stored.
bool UsagePublisher::publish(const std::vector<UsageRecord>& batch, Tail* tail) {
  const auto answers = std::make_shared<Answers>();
  uint64_t sequence = tail->sequence;
  for (const UsageRecord& record : batch) {
    const bus::Headers headers = {
        {"Content-Type", kUsageContentType},
        {"Nats-Msg-Id", record.id},
        {"Nats-Expected-Stream", kUsageStream},
        {"Nats-Expected-Last-Sequence", std::to_string(sequence++)},
        {kUsageOrderHeader,
         std::to_string(record.position) + "." + std::to_string(record.ordinal)}};
    bus_.publish_stored_async(
        "tl.usage." + record.project_id + "." + record.instance_id,
        usage_event(record, options_.origin), headers, std::chrono::seconds(5),
        [answers](const bus::PublishResult& result) {
          const std::lock_guard lock(answers->mutex);
          ++answers->answered;
          if (result.status == bus::PublishResult::Status::stored) {
            ++answers->stored;
          } else if (answers->first_error.empty()) {
            answers->first_error = result.error.empty() ? "no answer" : result.error;
          }
          answers->done.notify_all();
        });
  }
  std::unique_lock lock(answers->mutex);
  answers->done.wait(lock, [&] { return answers->answered == batch.size(); });
  if (answers->stored != batch.size()) {
    spdlog::warn("usage: {} of {} records stored, reading the stream's end again: {}",
                 answers->stored, batch.size(), answers->first_error);
    return false;
  }
  tail->sequence = sequence;
  tail->position = batch.back().position;
  tail->ordinal = batch.back().ordinal;
  return true;
}

}  // namespace trunkline::metering
