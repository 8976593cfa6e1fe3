// Where an instance's endpoints lead, as proxies need it: a fold of the instance's and its group's
// events like the documents, and stored beside them. What standbys report is not in it
// (standby_watch.h). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lookup/domain/views.h"
#include "trunkline/v1/route.pb.h"

namespace trunkline::lookup {

// OPEN: the primary opened in the group's term. HOLD: a switchover is under way, until a primary
// opens. DOWN: anything else. GONE: the deletion of the instance has started.
v1::Route route_of(const InstanceView& view);
// The word to forget an instance whose route is stored no more.
v1::Route route_gone(const std::string& instance_id, int64_t position);

// As it is stored: a JSON string. The second reads what the first wrote.
std::string stored_route(const v1::Route& route);
std::optional<v1::Route> route_from(std::string_view stored);

}  // namespace trunkline::lookup
