#include "runtime/admin_loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace trunkline::runtime {
namespace {

using nlohmann::json;
constexpr size_t kMaxWaiting = 16;

// "op: rebuild, checksum or status".
std::string known_ops(const std::vector<AdminOp>& ops) {
  std::string out = "op: ";
  for (size_t i = 0; i < ops.size(); ++i) {
    if (i > 0) out += i + 1 == ops.size() ? " or " : ", ";
    out += ops[i].name;
  }
  return out;
}

}  // namespace

AdminLoop::AdminLoop(bus::Bus& bus, std::vector<AdminOp> ops)
    : bus_(bus), ops_(std::move(ops)), thread_([this] { run(); }) {}

AdminLoop::~AdminLoop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void AdminLoop::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  const std::lock_guard lock(mutex_);
  if (requests_.size() >= kMaxWaiting) return;
  requests_.push_back(std::move(message));
  wake_.notify_one();
}

std::string AdminLoop::handle(const std::string& request) const {
  json answer = json::object();
  try {
    const json asked = json::parse(request, nullptr, false);
    const std::string name = asked.is_object() && asked.contains("op") && asked["op"].is_string()
                                 ? asked["op"].get<std::string>()
                                 : "";
    const auto op = std::find_if(ops_.begin(), ops_.end(),
                                 [&](const AdminOp& known) { return known.name == name; });
    if (op == ops_.end()) return json{{"ok", false}, {"error", known_ops(ops_)}}.dump();
    answer = op->run(asked);
    answer["ok"] = true;
  } catch (const std::exception& error) {
    answer = {{"ok", false}, {"error", error.what()}};
  }
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

void AdminLoop::run() {
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

}  // namespace trunkline::runtime
