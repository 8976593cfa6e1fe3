#include "base/ids.h"
#include "lookup/domain/project_detail.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::lookup {
namespace {

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_project(const std::string& id) { return id.empty() || canonical_uuid(id) == id; }

}  // namespace

std::optional<std::string> apply(VersionView& view, const v1::VersionEvent& event, TimePoint at,
                                 Touched* touched) {
  using Case = v1::VersionEvent::BodyCase;
  if (!view.created && event.body_case() != Case::kVersionCreated) {
    return "the stream does not begin with version_created";
  }
  switch (event.body_case()) {
    case Case::kVersionCreated:
      view.created = true;
      view.deleted = false;
      view.name = event.version_created().name();
      view.description = event.version_created().description();
      view.image = event.version_created().image();
      view.created_at = at;
      break;
    case Case::kVersionUpdated: {
      const auto& e = event.version_updated();
      if (e.has_name()) view.name = e.name();
      if (e.has_description()) view.description = e.description();
      if (e.has_image()) view.image = e.image();
      break;
    }
    case Case::kVersionDeleted: view.deleted = true; break;
    case Case::BODY_NOT_SET: return "the event is empty";
  }
  view.updated_at = at;
  touch(touched, DocKind::version, view.id);
  return std::nullopt;
}

std::optional<std::string> apply(HostView& view, const v1::HostEvent& event, TimePoint at,
                                 Touched* touched) {
  using Case = v1::HostEvent::BodyCase;
  if (!view.registered && event.body_case() != Case::kHostRegistered) {
    return "the stream does not begin with host_registered";
  }
  switch (event.body_case()) {
    case Case::kHostRegistered: {
      const auto& e = event.host_registered();
      if (!view.registered) view.created_at = at;
      view.registered = true;
      view.name = e.name();
      view.zone = e.zone();
      view.address = e.address();
      view.cpu = e.cpu();
      view.ram_mb = e.ram_mb();
      view.disk_gb = e.disk_gb();
      view.images.assign(e.images().begin(), e.images().end());
      break;
    }
    case Case::kHostSchedulableSet:
      view.schedulable = event.host_schedulable_set().schedulable();
      if (view.schedulable) view.state = HostState::in_service;
      break;
    case Case::kHostDrainStarted:
      view.schedulable = false;
      view.state = HostState::draining;
      break;
    case Case::kHostLost:
      view.schedulable = false;
      view.state = HostState::lost;
      break;
    case Case::kOrphanRemovalOrdered:
      break;
    case Case::BODY_NOT_SET: return "the event is empty";
  }
  view.updated_at = at;
  touch(touched, DocKind::host, view.id);
  return std::nullopt;
}

std::optional<std::string> apply(TokenView& view, const v1::TokenEvent& event, TimePoint at,
                                 Touched* touched) {
  using Case = v1::TokenEvent::BodyCase;
  if (!view.created && event.body_case() != Case::kTokenCreated) {
    return "the stream does not begin with token_created";
  }
  switch (event.body_case()) {
    case Case::kTokenCreated: {
      const auto& e = event.token_created();
      if (!is_sha256(e.sha256())) return "sha256 is not 64 lower-case hexadecimal digits";
      if (!is_project(e.project_id())) return "project_id is no lower-case UUID";
      view.created = true;
      view.sha256 = e.sha256();
      view.project_id = e.project_id();
      view.role = e.role();
      view.name = e.name();
      view.expires_unix_us = e.expires_unix_us();
      view.created_at = at;
      break;
    }
    case Case::kTokenRevoked: view.revoked = true; break;
    case Case::BODY_NOT_SET: return "the event is empty";
  }
  touch(touched, DocKind::token, view.id);
  return std::nullopt;
}

std::optional<std::string> apply(QuotaView& view, const v1::QuotaEvent& event, TimePoint at,
                                 Touched* touched) {
  using Case = v1::QuotaEvent::BodyCase;
  switch (event.body_case()) {
    case Case::kQuotaSet: {
      const auto& e = event.quota_set();
      if (!view.is_set) view.created_at = at;
      view.is_set = true;
      view.instances = e.instances();
      view.cpu = e.cpu();
      view.ram_mb = e.ram_mb();
      view.disk_gb = e.disk_gb();
      break;
    }
    case Case::kQuotaDeleted:
      if (!view.is_set) return "no quota is set";
      view.is_set = false;
      break;
    case Case::BODY_NOT_SET: return "the event is empty";
  }
  view.updated_at = at;
  touch(touched, DocKind::quota, view.id);
  return std::nullopt;
}

}  // namespace trunkline::lookup
