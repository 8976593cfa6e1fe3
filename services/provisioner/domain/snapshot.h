// The folded states to and from their snapshot messages. A snapshot that is not one of ours
// (an unknown status, say) gives nothing: the caller folds the log instead.
#pragma once

#include <optional>

#include "provisioner/domain/host_aggregate.h"
#include "provisioner/domain/instance_state.h"
#include "provisioner/domain/quota_aggregate.h"
#include "provisioner/domain/token_aggregate.h"
#include "provisioner/domain/version_aggregate.h"
#include "trunkline/v1/snapshot_provisioner.pb.h"

namespace trunkline::provisioner {

// Raised where a fold changes its meaning.
inline constexpr int kSnapshotFormat = 3;

v1::InstanceSnapshot to_snapshot(const InstanceState& state);
std::optional<InstanceState> from_snapshot(const v1::InstanceSnapshot& m);

v1::HostSnapshot to_snapshot(const HostState& state);
std::optional<HostState> from_snapshot(const v1::HostSnapshot& m);

v1::VersionSnapshot to_snapshot(const VersionState& state);
std::optional<VersionState> from_snapshot(const v1::VersionSnapshot& m);

v1::TokenSnapshot to_snapshot(const TokenState& state);
std::optional<TokenState> from_snapshot(const v1::TokenSnapshot& m);

v1::QuotaSnapshot to_snapshot(const QuotaState& state);
std::optional<QuotaState> from_snapshot(const v1::QuotaSnapshot& m);

}  // namespace trunkline::provisioner
