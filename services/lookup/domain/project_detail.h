// Private to the projection: one function an aggregate. Each returns why the event has the wrong
// shape, before it has changed anything. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "lookup/domain/documents.h"
#include "lookup/domain/views.h"

namespace trunkline::v1 {
class InstanceEvent;
class GroupEvent;
class VersionEvent;
class HostEvent;
class TokenEvent;
class QuotaEvent;
}  // namespace trunkline::v1

namespace trunkline::lookup {

using Touched = std::vector<DocKey>;

std::optional<std::string> apply(InstanceView& view, const v1::InstanceEvent& event, TimePoint at,
                                 Touched* touched);
std::optional<std::string> apply(InstanceView& view, const v1::GroupEvent& event, TimePoint at,
                                 Touched* touched);
std::optional<std::string> apply(VersionView& view, const v1::VersionEvent& event, TimePoint at,
                                 Touched* touched);
std::optional<std::string> apply(HostView& view, const v1::HostEvent& event, TimePoint at,
                                 Touched* touched);
std::optional<std::string> apply(TokenView& view, const v1::TokenEvent& event, TimePoint at,
                                 Touched* touched);
std::optional<std::string> apply(QuotaView& view, const v1::QuotaEvent& event, TimePoint at,
                                 Touched* touched);

inline void touch(Touched* touched, DocKind kind, const std::string& uuid,
                  const std::string& parent = {}) {
  if (touched != nullptr) touched->push_back({kind, uuid, parent});
}

inline void touch_route(InstanceView& view, Touched* touched) {
  view.route_position = view.position;
  touch(touched, DocKind::route, view.id);
}

}  // namespace trunkline::lookup
