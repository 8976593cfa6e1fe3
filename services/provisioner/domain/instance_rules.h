// The rules that a value must keep whatever the state is: ranges and names. Each function returns
// the first rule that is broken, or nothing. The gateway checks the same; this is the last line.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/decision.h"
#include "provisioner/domain/instance_state.h"

namespace trunkline::provisioner {

inline constexpr uint32_t kMinCpu = 1, kMaxCpu = 128;
inline constexpr uint32_t kMinRamMb = 512, kMaxRamMb = 1024 * 1024;
inline constexpr uint32_t kMinDiskGb = 8, kMaxDiskGb = 1024;
inline constexpr uint32_t kMinNodes = 1, kMaxNodes = 16;
inline constexpr uint32_t kMaxSyncReplicas = 15;
inline constexpr size_t kMaxNameCharacters = 255;         // of an instance, version or token
inline constexpr size_t kMaxDescriptionCharacters = 4096;
// Of one instance: every route and task names all of them. An instance that has more was made
// before there were bounds; it keeps them and gets no new ones.
inline constexpr size_t kMaxUsers = 1000;
inline constexpr size_t kMaxDatabases = 500;
inline constexpr size_t kMaxDropped = 1000;  // deleted, and not yet gone from the server
inline constexpr uint32_t kFirstPort = 5432, kLastPort = 65535;

using Broken = std::optional<Rejection>;

Broken check_size(const Size& size);
Broken check_nodes(uint32_t nodes_number, uint32_t sync_replica_number);
// UTF-8, counted in characters; without control characters.
Broken check_name(std::string_view name);
Broken check_description(std::string_view description);
Broken check_user_name(std::string_view name);
Broken check_database_name(std::string_view name);
// Of a new database; each may be empty. Whether the host's image has them shows when it is made.
Broken check_text_form(std::string_view locale, std::string_view encoding,
                       std::string_view icu_locale);
Broken check_verifier(std::string_view verifier);
// `field` is named in the message.
Broken check_uuid(std::string_view field, std::string_view value);

}  // namespace trunkline::provisioner
