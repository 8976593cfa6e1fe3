// The version aggregate (stream `version-<uuid>`): a PostgreSQL version that is offered, and the
// image that hosts run for it. Pure.
//
// Rules: command_empty, uuid_malformed, name_*, description_*, image_malformed: bad_value;
// version_not_found: not_found; uuid_in_use, name_in_use, version_in_use (deleting it, or giving
// it another image, while instances run it): conflict.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/decision.h"
#include "base/ids.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::provisioner {

struct VersionState {
  VersionState() = default;
  explicit VersionState(VersionId uuid) : id(std::move(uuid)) {}

  VersionId id;
  uint64_t version = 0;  // of the stream
  bool created = false;
  bool deleted = false;
  std::string name;
  std::string description;
  std::string image;

  bool is_offered() const { return created && !deleted; }
  bool operator==(const VersionState&) const = default;
};

struct VersionFacts {
  std::set<std::string> names_in_use;  // of the other versions that are offered
  uint64_t instances = 0;              // that run this version and are not deleted
};

Decision<v1::VersionEvent> decide(const VersionState& state, const v1::VersionCommand& command,
                                  const VersionFacts& facts, TimePoint now);
void evolve(VersionState& state, const v1::VersionEvent& event, TimePoint recorded_at);

}  // namespace trunkline::provisioner
