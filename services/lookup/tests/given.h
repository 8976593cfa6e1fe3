// Given events of one instance, these are its documents and its route.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lookup/domain/project.h"
#include "lookup/domain/route.h"
#include "lookup/tests/events.h"

namespace trunkline::lookup::testing {

inline const std::string kInstance = id("shop");
inline const DocKey kInstanceKey{DocKind::instance, kInstance};

// A log of one instance in memory; second n of 2026-01-15 is the time of position n.
class Given {
 public:
  Given& with(const v1::InstanceEvent& event) { return take("instance-", ++version_, event); }
  Given& with(const v1::GroupEvent& event) { return take("group-", ++group_version_, event); }

  nlohmann::json document(const DocKey& key = kInstanceKey) const {
    const auto document = render(view, key, rendering);
    return document ? nlohmann::json::parse(document->json) : nlohmann::json();
  }
  v1::Route route() const {
    const auto document = render(view, {DocKind::route, kInstance}, rendering);
    return document ? route_from(document->json).value() : v1::Route();
  }
  std::string text(const DocKey& key = kInstanceKey) const {
    return render(view, key, rendering)->json;
  }

  View view = make_view({Aggregate::instance, kInstance});
  Rendering rendering;
  std::vector<DocKey> touched;
  int64_t position = 0;

 private:
  template <class Event>
  Given& take(const std::string& prefix, int64_t version, const Event& event) {
    const std::string stream = prefix + kInstance, payload = event.SerializeAsString(),
                      type = type_of(event);
    ++position;
    const auto error = project(view,
                               {position, stream, version, type, 1, payload,
                                *parse_rfc3339("2026-01-15T10:30:00Z") + seconds(position)},
                               &touched);
    EXPECT_EQ(error, std::nullopt);
    return *this;
  }
  int64_t version_ = 0;
  int64_t group_version_ = 0;
};

inline Given running_pair() {
  Given given;
  given.with(created("shop"))
      .with(placed("a", "host-a", "127.0.0.11"))
      .with(placed("b", "host-b", "127.0.0.12"))
      .with(primary_assigned("a", 1))
      .with(standby_assigned("b"))
      .with(primary_opened("a", 1))
      .with(standby_streaming("b"))
      .with(activated());
  return given;
}

}  // namespace trunkline::lookup::testing
