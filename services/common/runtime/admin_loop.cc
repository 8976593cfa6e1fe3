#include "runtime/admin_loop.h"

#include <algorithm>
#include <memory>

#include "runtime/query_answer.h"

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
    : bus_(bus), ops_(std::move(ops)), pool_(1, kMaxWaiting, [] {
        return std::make_unique<std::monostate>();
      }) {}

void AdminLoop::take(bus::Message&& message) {
  if (message.reply.empty()) return;
  pool_.post([this, message = std::move(message)](std::monostate&) {
    send_answer(bus_, message.reply, handle(message.data));
  });
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

}  // namespace trunkline::runtime
