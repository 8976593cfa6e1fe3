// Digests and encodings on whole buffers (OpenSSL libcrypto). Pure; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline {

std::string sha256(std::string_view data);                       // 32 raw bytes
std::string hmac_sha256(std::string_view key, std::string_view data);  // 32 raw bytes
std::string hex(std::string_view data);                          // lower case
std::string base64(std::string_view data);                       // RFC 4648, padded
std::optional<std::string> unbase64(std::string_view text);

// RFC 5802/7677 verifier as PostgreSQL stores it in pg_authid.rolpassword:
// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>. `password` must be SASLprep-ed by the
// caller where it is not ASCII; `salt` is 16 random bytes.
std::string scram_sha256_verifier(std::string_view password, std::string_view salt,
                                  int iterations);
// PostgreSQL takes a verifier of any size from whoever sets a password. What the platform keeps and
// reports has bounds: the salt is sent in each login, and a client, a pooler among them, computes
// all iterations before it is let in, a second of a processor for the most.
inline constexpr size_t kMostVerifierBytes = 256;
inline constexpr size_t kMostSaltBytes = 64;  // decoded
inline constexpr uint32_t kMostIterations = 1'000'000;

// True if `text` is such a verifier, within the bounds.
bool is_scram_sha256_verifier(std::string_view text);
// Of what begins like a verifier; 0: it does not.
uint32_t scram_iterations(std::string_view verifier);

}  // namespace trunkline
