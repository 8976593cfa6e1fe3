#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/host_name.h"
#include "base/ids.h"

namespace trunkline {
namespace {

TEST(Uuid, OnlyTheCanonicalShapeIsOne) {
  EXPECT_TRUE(is_uuid("0b3c9a52-90a1-4f0e-8d11-6a4f2f6f9c01"));
  EXPECT_TRUE(is_uuid("0B3C9A52-90A1-4F0E-8D11-6A4F2F6F9C01"));
  EXPECT_FALSE(is_uuid("0b3c9a5290a14f0e8d116a4f2f6f9c01"));
  EXPECT_FALSE(is_uuid("0b3c9a52-90a1-4f0e-8d11-6a4f2f6f9c0"));
  EXPECT_FALSE(is_uuid("0b3c9a52-90a1-4f0e-8d11-6a4f2f6f9c0g"));
  EXPECT_FALSE(is_uuid("{b3c9a52-90a1-4f0e-8d11-6a4f2f6f9c01"));
  EXPECT_EQ(canonical_uuid("0B3C9A52-90A1-4F0E-8D11-6A4F2F6F9C01"),
            "0b3c9a52-90a1-4f0e-8d11-6a4f2f6f9c01");
}

TEST(Uuid, OfANameIsStableAndVersionFive) {
  const std::string uuid = uuid_from_name("host/host-a");
  EXPECT_TRUE(is_uuid(uuid));
  EXPECT_EQ(uuid[14], '5');
  EXPECT_EQ(uuid, uuid_from_name("host/host-a"));
  EXPECT_NE(uuid, uuid_from_name("host/host-b"));
}

TEST(HostName, OneRuleForAll) {
  for (const char* name : {"host-a", "a", "0", "db_1", "h2-"}) {
    EXPECT_TRUE(is_host_name(name)) << name;
  }
  for (const char* name : {"", "a.b", "Host", "-a", "_a", "a b", "a/b", "host-*", "../a"}) {
    EXPECT_FALSE(is_host_name(name)) << name;
  }
  EXPECT_TRUE(is_host_name(std::string(63, 'a')));
  EXPECT_FALSE(is_host_name(std::string(64, 'a')));
}

TEST(Clock, Rfc3339RoundTrips) {
  const auto t = parse_rfc3339("2026-01-15T10:30:00.123456Z");
  ASSERT_TRUE(t);
  EXPECT_EQ(format_rfc3339(*t), "2026-01-15T10:30:00.123456Z");
  EXPECT_EQ(parse_rfc3339("2026-01-15T12:30:00.123456+02:00"), t);
  EXPECT_EQ(format_rfc3339(*parse_rfc3339("2024-02-29T23:59:59Z")), "2024-02-29T23:59:59.000000Z");
}

TEST(Clock, RefusesWhatIsNoTime) {
  for (const char* text : {"", "2026", "2026-01-15", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z",
                           "2026-01-15T24:00:00Z", "2026-01-15T10:30:00", "2026-01-15T10:30:00.Z",
                           "2026-01-15T10:30:00Zx", "2026-01-15T10:30:00+99:00"}) {
    EXPECT_FALSE(parse_rfc3339(text)) << text;
  }
}

TEST(Digest, KnownAnswers) {
  EXPECT_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(unbase64("Zm9vYg=="), "foob");
  EXPECT_FALSE(unbase64("Zm9"));
}

// RFC 7677 section 3: user "user", password "pencil".
TEST(Scram, VerifierOfTheRfcExample) {
  const auto salt = unbase64("W22ZaJ0SNY7soEsUEjb6gQ==");
  const std::string verifier = scram_sha256_verifier("pencil", *salt, 4096);
  EXPECT_EQ(
      verifier,
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
      ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
  EXPECT_TRUE(is_scram_sha256_verifier(verifier));
  EXPECT_FALSE(is_scram_sha256_verifier("md5d8578edf8458ce06fbc5bb76a58c5ca4"));
  EXPECT_FALSE(is_scram_sha256_verifier("SCRAM-SHA-256$4096:x$y:z"));
  EXPECT_FALSE(is_scram_sha256_verifier("pencil"));
}

TEST(Scram, AVerifierHasBounds) {
  const auto of = [](size_t salt, int iterations) {
    std::string text = scram_sha256_verifier("pencil", std::string(salt, 's'), 1);
    return text.replace(text.find('$') + 1, 1, std::to_string(iterations));
  };
  EXPECT_EQ(scram_iterations(of(16, 4096)), 4096u);
  EXPECT_EQ(scram_iterations("SCRAM-SHA-256$4096"), 0u);
  EXPECT_EQ(scram_iterations("SCRAM-SHA-256$-1:"), 0u);
  EXPECT_EQ(scram_iterations("SCRAM-SHA-256$99999999999:"), 0u);
  EXPECT_TRUE(is_scram_sha256_verifier(of(1, 1)));
  EXPECT_TRUE(is_scram_sha256_verifier(of(kMostSaltBytes, kMostIterations)));
  EXPECT_LE(of(kMostSaltBytes, kMostIterations).size(), kMostVerifierBytes);
  EXPECT_FALSE(is_scram_sha256_verifier(of(0, 4096)));
  EXPECT_FALSE(is_scram_sha256_verifier(of(kMostSaltBytes + 1, 4096)));
  EXPECT_FALSE(is_scram_sha256_verifier(of(36'000'000, 4096)));
  EXPECT_FALSE(is_scram_sha256_verifier(of(16, 0)));
  EXPECT_FALSE(is_scram_sha256_verifier(of(16, kMostIterations + 1)));
  EXPECT_FALSE(is_scram_sha256_verifier(of(16, 4096) + std::string(kMostVerifierBytes, '=')));
  std::string zeros = of(16, 4096);
  zeros.insert(zeros.find('$') + 1, std::string(kMostVerifierBytes, '0'));
  EXPECT_FALSE(is_scram_sha256_verifier(zeros));
}

}  // namespace
}  // namespace trunkline
