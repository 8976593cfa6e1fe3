// Who a group's primary is, as proxies are told beside lookup's routes. Pure.
#pragma once

#include <optional>

#include "replication/domain/group_state.h"
#include "trunkline/v1/route.pb.h"

namespace trunkline::replication {

// What of a group's state proxies need: news is another value of it.
struct PrimaryKey {
  uint64_t term = 0;
  bool is_open = false;
  bool operator==(const PrimaryKey&) const = default;
};
PrimaryKey primary_key(const GroupState& state);

// OPEN: the primary opened in the group's term. HOLD: a switchover is under way, until a primary
// opens. DOWN: anything else. Nothing of a group that never had a primary, or is being deleted:
// there is nobody to tell. `position` is that of the event that made the state so.
std::optional<v1::PrimaryNews> primary_news(const InstanceId& instance, const GroupState& state,
                                            int64_t position);

}  // namespace trunkline::replication
