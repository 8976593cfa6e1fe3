#include "provisioner/domain/version_aggregate.h"

#include <algorithm>

#include "provisioner/domain/instance_rules.h"

namespace trunkline::provisioner {
namespace {

using VersionDecision = Decision<v1::VersionEvent>;

// An image's name is also a directory's name on every host.
Broken check_image(const std::string& image) {
  constexpr size_t kMaxBytes = 63;
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  const bool good = !image.empty() && image.size() <= kMaxBytes && image[0] != '.' &&
                    std::ranges::all_of(image, is_plain);
  if (good) return std::nullopt;
  return reject(RejectionBlame::bad_value, "image_malformed",
                "image must be 1 to 63 lower-case letters, digits, dashes, underscores and dots, "
                "such as postgresql-15");
}

Rejection name_in_use(const std::string& name) {
  return reject(RejectionBlame::conflict, "name_in_use",
                "name: there is a version " + name + " already");
}
Rejection version_in_use(const std::string& what, uint64_t instances) {
  return reject(RejectionBlame::conflict, "version_in_use",
                what + " while " + std::to_string(instances) + " instances run this version");
}

VersionDecision create_version(const VersionState& state, const v1::CreateVersion& c,
                               const VersionFacts& facts) {
  if (state.created) {
    return reject(RejectionBlame::conflict, "uuid_in_use",
                  "uuid " + state.id.str() + " is in use");
  }
  if (auto b = check_uuid("uuid", state.id.str())) return *b;
  if (auto b = check_name(c.name())) return *b;
  if (auto b = check_description(c.description())) return *b;
  if (auto b = check_image(c.image())) return *b;
  if (facts.names_in_use.contains(c.name())) return name_in_use(c.name());
  v1::VersionEvent event;
  auto& e = *event.mutable_version_created();
  e.set_name(c.name());
  e.set_description(c.description());
  e.set_image(c.image());
  return accept(std::vector{std::move(event)});
}

VersionDecision update_version(const VersionState& state, const v1::UpdateVersion& c,
                               const VersionFacts& facts) {
  v1::VersionEvent event;
  auto& e = *event.mutable_version_updated();
  if (c.has_name() && c.name() != state.name) {
    if (auto b = check_name(c.name())) return *b;
    if (facts.names_in_use.contains(c.name())) return name_in_use(c.name());
    e.set_name(c.name());
  }
  if (c.has_description() && c.description() != state.description) {
    if (auto b = check_description(c.description())) return *b;
    e.set_description(c.description());
  }
  if (c.has_image() && c.image() != state.image) {
    if (auto b = check_image(c.image())) return *b;
    if (facts.instances > 0) return version_in_use("image cannot change", facts.instances);
    e.set_image(c.image());
  }
  if (!e.has_name() && !e.has_description() && !e.has_image()) {
    return ignore("the version is like this already");
  }
  return accept(std::vector{std::move(event)});
}

VersionDecision delete_version(const VersionFacts& facts) {
  if (facts.instances > 0) return version_in_use("it cannot be deleted", facts.instances);
  v1::VersionEvent event;
  event.mutable_version_deleted();
  return accept(std::vector{std::move(event)});
}

}  // namespace

VersionDecision decide(const VersionState& state, const v1::VersionCommand& command,
                       const VersionFacts& facts, TimePoint) {
  const auto body = command.body_case();
  if (body == v1::VersionCommand::kUpdateVersion || body == v1::VersionCommand::kDeleteVersion) {
    if (!state.is_offered()) {
      return reject(RejectionBlame::not_found, "version_not_found",
                    "there is no version " + state.id.str());
    }
  }
  switch (body) {
    case v1::VersionCommand::kCreateVersion:
      return create_version(state, command.create_version(), facts);
    case v1::VersionCommand::kUpdateVersion:
      return update_version(state, command.update_version(), facts);
    case v1::VersionCommand::kDeleteVersion: return delete_version(facts);
    case v1::VersionCommand::BODY_NOT_SET: break;
  }
  return reject(RejectionBlame::bad_value, "command_empty", "the command has no body");
}

void evolve(VersionState& state, const v1::VersionEvent& event, TimePoint) {
  ++state.version;
  switch (event.body_case()) {
    case v1::VersionEvent::kVersionCreated:
      state.created = true;
      state.name = event.version_created().name();
      state.description = event.version_created().description();
      state.image = event.version_created().image();
      return;
    case v1::VersionEvent::kVersionUpdated: {
      const auto& e = event.version_updated();
      if (e.has_name()) state.name = e.name();
      if (e.has_description()) state.description = e.description();
      if (e.has_image()) state.image = e.image();
      return;
    }
    case v1::VersionEvent::kVersionDeleted: state.deleted = true; return;
    case v1::VersionEvent::BODY_NOT_SET: return;
  }
}

}  // namespace trunkline::provisioner
