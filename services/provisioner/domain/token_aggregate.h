// The token aggregate (stream `token-<uuid>`): who may call the API, as the digest of a bearer
// token, its role and its project. Pure.
//
// Rules: command_empty, uuid_malformed, digest_malformed, role_unknown, name_*, project_id_missing
// (member, reader), project_id_not_allowed (admin), expires_in_past: bad_value; uuid_in_use:
// conflict; token_not_found: not_found. The same creation again, and a second revocation, are
// Ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/decision.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::provisioner {

struct TokenState {
  TokenState() = default;
  explicit TokenState(std::string uuid) : id(std::move(uuid)) {}

  std::string id;
  uint64_t version = 0;
  bool created = false;
  bool revoked = false;
  std::string sha256;
  std::string project_id;
  std::string role;
  std::string name;
  std::optional<TimePoint> expires_at;
  bool operator==(const TokenState&) const = default;
};

struct TokenFacts {};

Decision<v1::TokenEvent> decide(const TokenState& state, const v1::TokenCommand& command,
                                const TokenFacts& facts, TimePoint now);
void evolve(TokenState& state, const v1::TokenEvent& event, TimePoint recorded_at);

}  // namespace trunkline::provisioner
