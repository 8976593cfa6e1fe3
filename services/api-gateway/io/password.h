// From a password to the verifier that PostgreSQL keeps. The password goes no further than this.
#pragma once

#include <string>

namespace trunkline::gateway {

// RFC 4013 as libpq applies it: ASCII stays as it is, and what SASLprep forbids is taken raw.
std::string sasl_prepared(const std::string& password);

// SCRAM-SHA-256 with a random salt, or with one that follows from `seed` if that is not empty.
std::string scram_verifier_of(const std::string& password, const std::string& seed);

}  // namespace trunkline::gateway
