#include "metering/domain/window_close.h"

#include <algorithm>
#include <chrono>

#include "metering/domain/usage_fold.h"

namespace trunkline::metering {
namespace {

bool has_usage(const Account& account) {
  return !is_zero(account.rate) || !account.pieces.empty();
}

bool has_usage(const InstanceState& instance) {
  return has_usage(instance.account) ||
         std::any_of(instance.nodes.begin(), instance.nodes.end(),
                     [](const NodeState& node) { return has_usage(node.account); });
}

// Takes out of an account what belongs into windows up to `until_ms`.
Shares take_shares(Account& account, const WindowGrid& grid, int64_t until_ms) {
  if (!is_zero(account.rate) && account.accounted_ms < until_ms) {
    account.pieces.push_back(rate_piece(account.accounted_ms, until_ms, account.rate));
    account.accounted_ms = until_ms;
  }
  Shares shares;
  std::erase_if(account.pieces,
                [&](Piece& piece) { return share_out(piece, grid, until_ms, shares); });
  if (account.pieces.empty()) std::vector<Piece>().swap(account.pieces);
  return shares;
}

// The records of one close.
class Closing {
 public:
  Closing(UsageState& state, int64_t position, int64_t recorded_ms, int64_t until_ms,
          UsageChange& change)
      : state_(state), position_(position), closed_ms_(recorded_ms), until_ms_(until_ms),
        change_(change) {}

  void close(const std::string& id, InstanceState& instance) {
    put(id, instance, "", take_shares(instance.account, state_.grid, until_ms_));
    for (NodeState& node : instance.nodes) {
      put(id, instance, node.id, take_shares(node.account, state_.grid, until_ms_));
    }
  }

 private:
  void put(const std::string& id, const InstanceState& instance, const std::string& node_id,
           const Shares& shares) {
    for (const auto& [window, amounts] : shares) {
      if (is_zero(amounts)) continue;
      UsageRecord record;
      record.position = position_;
      record.ordinal = ordinal_++;
      record.project_id = instance.project_id;
      record.instance_id = id;
      record.node_id = node_id;
      record.window = window;
      record.closed_ms = closed_ms_;
      record.is_correction = window.end_ms <= state_.closed_until_ms;
      record.amounts = amounts;
      record.id = record_id(record);
      change_.records.push_back(std::move(record));
    }
  }

  UsageState& state_;
  const int64_t position_;
  const int64_t closed_ms_;
  const int64_t until_ms_;
  UsageChange& change_;
  int32_t ordinal_ = 0;
};

bool is_old(const std::optional<int64_t>& ended_ms, const Account& account, int64_t until_ms) {
  return ended_ms && until_ms - *ended_ms >= kForgetAfterMs && account.pieces.empty();
}

void forget_old(UsageState& state, int64_t until_ms) {
  std::set<std::string> forgotten;
  for (auto place = state.instances.begin(); place != state.instances.end();) {
    InstanceState& instance = place->second;
    std::erase_if(instance.nodes, [&](const NodeState& node) {
      if (!is_old(node.ended_ms, node.account, until_ms)) return false;
      state.instance_of_node.erase(node.id);
      forgotten.insert(node.id);
      return true;
    });
    const bool is_over =
        instance.nodes.empty() && is_old(instance.ended_ms, instance.account, until_ms);
    if (is_over) forgotten.insert(place->first);
    place = is_over ? state.instances.erase(place) : std::next(place);
  }
  if (forgotten.empty()) return;
  for (auto& [id, source] : state.sources) {
    std::erase_if(source.items, [&](const auto& item) { return forgotten.contains(item.first); });
  }
}

// Months since 1970, UTC; -1: before.
int64_t month_of(int64_t ms) {
  if (ms < 0) return -1;
  const std::chrono::sys_days day{
      std::chrono::floor<std::chrono::days>(std::chrono::milliseconds(ms))};
  const std::chrono::year_month_day date{day};
  return (int{date.year()} - 1970) * int64_t{12} + unsigned{date.month()} - 1;
}

}  // namespace

void evolve_closed(UsageState& state, int64_t position, int64_t recorded_ms,
                   const v1::UsageWindowClosed& event, UsageChange& change) {
  const int64_t until_ms = event.window_end_unix_ms();
  if (event.length_ms() <= 0 || until_ms <= state.closed_until_ms) return;
  state.grid.set_length(state.closed_until_ms, event.length_ms());
  Closing closing(state, position, recorded_ms, until_ms, change);
  for (auto& [id, instance] : state.instances) closing.close(id, instance);
  state.closed_until_ms = until_ms;
  state.closed_position = position;
  forget_old(state, until_ms);
}

int64_t window_end(const WindowRules& rules, int64_t now_ms) {
  return aligned(now_ms, rules.length_ms);
}

std::optional<v1::UsageWindowClosed> decide_close(const UsageState& state,
                                                  const WindowRules& rules, int64_t now_ms) {
  const int64_t end_ms = window_end(rules, now_ms - rules.grace_ms);
  if (end_ms <= state.closed_until_ms) return std::nullopt;
  const bool idle = std::none_of(state.instances.begin(), state.instances.end(),
                                 [](const auto& entry) { return has_usage(entry.second); });
  // Where nothing runs nothing is to be closed, but that the month is over: its invoices are
  // complete then.
  if (idle && month_of(state.closed_until_ms) == month_of(end_ms)) return std::nullopt;
  v1::UsageWindowClosed closed;
  closed.set_window_end_unix_ms(end_ms);
  closed.set_length_ms(rules.length_ms);
  return closed;
}

}  // namespace trunkline::metering
