#include "metering/io/admin.h"

#include <spdlog/spdlog.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

using nlohmann::json;
constexpr size_t kMaxWaiting = 16;

json rebuild(UsageMeter& meter) {
  const UsageRebuildReport report = meter.rebuild();
  return {{"events", report.events},
          {"records", report.records},
          {"position", report.position},
          {"seconds", report.seconds}};
}

// Of the records of all closes up to a position; the same after every rebuild.
json checksum(const std::string& dsn, int64_t up_to) {
  PgSession session(dsn);
  const PgRows rows = session.query(
      "SELECT count(*), md5(coalesce(string_agg(md5(r::text), '' ORDER BY position, ordinal), "
      "'')) FROM " + std::string(kUsageSchema) + ".record r WHERE position <= $1",
      {std::to_string(up_to)});
  return {{"records", rows.number(0, 0)}, {"checksum", rows.text(0, 1)}};
}

}  // namespace

Admin::Admin(bus::Bus& bus, std::string metering_dsn, UsageMeter& meter)
    : bus_(bus),
      metering_dsn_(std::move(metering_dsn)),
      meter_(meter),
      thread_([this] { run(); }) {}

Admin::~Admin() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Admin::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  const std::lock_guard lock(mutex_);
  if (requests_.size() >= kMaxWaiting) return;
  requests_.push_back(std::move(message));
  wake_.notify_one();
}

std::string Admin::handle(const std::string& request) {
  json answer = json::object();
  try {
    const json asked = json::parse(request, nullptr, false);
    const std::string op = asked.is_object() && asked.contains("op") && asked["op"].is_string()
                               ? asked["op"].get<std::string>()
                               : "";
    if (op == "rebuild") {
      answer = rebuild(meter_);
    } else if (op == "checksum") {
      answer = checksum(metering_dsn_, asked.value("up_to", std::numeric_limits<int64_t>::max()));
    } else if (op == "status") {
      answer = {{"active", meter_.is_active()}, {"position", meter_.position()}};
    } else {
      return json{{"ok", false}, {"error", "op: rebuild, checksum or status"}}.dump();
    }
    answer["ok"] = true;
  } catch (const std::exception& error) {
    answer = {{"ok", false}, {"error", error.what()}};
  }
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

void Admin::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !requests_.empty(); });
    if (stopping_) return;
    const bus::Message message = std::move(requests_.front());
    requests_.pop_front();
    lock.unlock();
    try {
      bus_.publish(message.reply, handle(message.data));
    } catch (const bus::BusUnavailable& error) {
      spdlog::warn("an answer could not be sent: {}", error.what());
    }
    lock.lock();
  }
}

}  // namespace trunkline::metering
