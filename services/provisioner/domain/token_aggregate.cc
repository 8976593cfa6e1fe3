#include "provisioner/domain/token_aggregate.h"

#include <algorithm>

#include "provisioner/domain/instance_rules.h"

namespace trunkline::provisioner {
namespace {

using TokenDecision = Decision<v1::TokenEvent>;

Rejection bad_value(std::string rule, std::string message) {
  return reject(RejectionBlame::bad_value, std::move(rule), std::move(message));
}

bool is_sha256_hex(const std::string& text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

std::optional<TimePoint> expiry(int64_t unix_us) {
  if (unix_us == 0) return std::nullopt;
  return from_unix_us(unix_us);
}

bool is_same(const TokenState& state, const v1::CreateToken& c) {
  return state.sha256 == c.sha256() && state.project_id == c.project_id() &&
         state.role == c.role() && state.name == c.name() &&
         state.expires_at == expiry(c.expires_unix_us());
}

TokenDecision create_token(const TokenState& state, const v1::CreateToken& c, TimePoint now) {
  if (state.created && !state.revoked && is_same(state, c)) return ignore("the token exists");
  if (state.created) {
    return reject(RejectionBlame::conflict, "uuid_in_use", "uuid " + state.id + " is in use");
  }
  if (auto b = check_uuid("uuid", state.id)) return *b;
  if (!is_sha256_hex(c.sha256())) {
    return bad_value("digest_malformed", "sha256 must be 64 lower-case hexadecimal digits");
  }
  const bool is_admin = c.role() == "admin";
  if (!is_admin && c.role() != "member" && c.role() != "reader") {
    return bad_value("role_unknown", "role must be admin, member or reader");
  }
  if (is_admin && !c.project_id().empty()) {
    return bad_value("project_id_not_allowed", "project_id: an admin belongs to no project");
  }
  if (!is_admin && c.project_id().empty()) {
    return bad_value("project_id_missing", "project_id: a " + c.role() + " needs a project");
  }
  if (auto b = check_name(c.name())) return *b;
  const auto expires_at = expiry(c.expires_unix_us());
  if (expires_at && *expires_at <= now) {
    return bad_value("expires_in_past", "expires_at must be in the future");
  }
  v1::TokenEvent event;
  auto& e = *event.mutable_token_created();
  e.set_sha256(c.sha256());
  e.set_project_id(c.project_id());
  e.set_role(c.role());
  e.set_name(c.name());
  e.set_expires_unix_us(c.expires_unix_us());
  return accept(std::vector{std::move(event)});
}

TokenDecision revoke_token(const TokenState& state) {
  if (!state.created) {
    return reject(RejectionBlame::not_found, "token_not_found", "there is no token " + state.id);
  }
  if (state.revoked) return ignore("the token is revoked already");
  v1::TokenEvent event;
  event.mutable_token_revoked();
  return accept(std::vector{std::move(event)});
}

// For the audit log alone, which keeps every command and its answer.
TokenDecision note_refusals(const v1::RecordRefusals& c) {
  std::string counts;
  for (const auto& refusal : c.refusals()) {
    counts += (counts.empty() ? "" : ", ") + std::to_string(refusal.count()) + " x " +
              std::to_string(refusal.status());
  }
  return ignore("requests refused from " + format_rfc3339(from_unix_us(c.from_unix_us())) +
                " to " + format_rfc3339(from_unix_us(c.to_unix_us())) + ": " + counts);
}

}  // namespace

TokenDecision decide(const TokenState& state, const v1::TokenCommand& command, const TokenFacts&,
                     TimePoint now) {
  switch (command.body_case()) {
    case v1::TokenCommand::kCreateToken: return create_token(state, command.create_token(), now);
    case v1::TokenCommand::kRevokeToken: return revoke_token(state);
    case v1::TokenCommand::kRecordRefusals: return note_refusals(command.record_refusals());
    case v1::TokenCommand::BODY_NOT_SET: break;
  }
  return bad_value("command_empty", "the command has no body");
}

void evolve(TokenState& state, const v1::TokenEvent& event, TimePoint) {
  ++state.version;
  switch (event.body_case()) {
    case v1::TokenEvent::kTokenCreated: {
      const auto& e = event.token_created();
      state.created = true;
      state.sha256 = e.sha256();
      state.project_id = e.project_id();
      state.role = e.role();
      state.name = e.name();
      state.expires_at = expiry(e.expires_unix_us());
      return;
    }
    case v1::TokenEvent::kTokenRevoked: state.revoked = true; return;
    case v1::TokenEvent::BODY_NOT_SET: return;
  }
}

}  // namespace trunkline::provisioner
