// The system identifier: checksums on known bytes, and a data directory that initdb made.
#include "agent/domain/control_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "agent/io/template_store.h"
#include "agent/tests/test_host.h"

namespace trunkline::agent {
namespace {

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
}

std::string made_control() {
  std::string control(8192, '\0');
  for (size_t i = 0; i < 300; ++i) control[i] = static_cast<char>(i * 7 + 1);
  const uint32_t crc = crc32c(std::string_view(control).substr(0, 288));
  std::memcpy(control.data() + 288, &crc, sizeof crc);
  return control;
}

TEST(ControlFile, IdentifierIsReplacedAndTheChecksumRight) {
  std::string control = made_control();
  ASSERT_EQ(control_crc_offset(control), 288u);
  ASSERT_TRUE(patch_control_file(control, 0x1122334455667788u));
  EXPECT_EQ(control_crc_offset(control), 288u);
  EXPECT_EQ(control_system_identifier(control), 0x1122334455667788u);
}

TEST(ControlFile, DamageIsSeen) {
  std::string control = made_control();
  control[100] ^= 1;
  EXPECT_FALSE(control_crc_offset(control));
  EXPECT_FALSE(patch_control_file(control, 1));
  EXPECT_FALSE(control_crc_offset(""));
}

TEST(WalHeader, OnlyALongHeaderOfTheSameClusterIsPatched) {
  std::string page(40, '\0');
  const uint16_t flag = 2;
  const uint64_t old = 77;
  std::memcpy(page.data() + 2, &flag, sizeof flag);
  std::memcpy(page.data() + 24, &old, sizeof old);
  std::string other = page;
  EXPECT_FALSE(patch_wal_header(other, 78, 99));
  EXPECT_TRUE(patch_wal_header(page, 77, 99));
  uint64_t now = 0;
  std::memcpy(&now, page.data() + 24, sizeof now);
  EXPECT_EQ(now, 99u);
  std::string zero(40, '\0');
  EXPECT_FALSE(patch_wal_header(zero, 0, 99));
  std::string little(10, '\0');
  EXPECT_FALSE(patch_wal_header(little, 0, 99));
}

TEST(SystemIdentifier, GrowsWithTime) {
  EXPECT_LT(make_system_identifier(1'000'000, 0xFFFF), make_system_identifier(2'000'000, 0));
  EXPECT_NE(make_system_identifier(1'000'000, 1), make_system_identifier(1'000'000, 2));
}

TEST(SystemIdentifier, PostgresqlAcceptsAPatchedCopy) {
  const testing::TestPlatform platform;
  testing::TestHost host(platform, "host-a", "127.31.77.13");
  const NodeUser user = find_node_user(host.options().node_user);
  const std::string programs = host.options().images.at("postgresql-15");
  const std::string copy = host.paths().templates_dir + "/copy";
  const AsNodeUser rights(user);
  copy_data_directory(host.paths().templates_dir + "/postgresql-15/data", copy);
  give_system_identifier(copy, 7654321987654321u);
  ChildProcess control({programs + "/pg_controldata", copy}, user, true);
  ASSERT_TRUE(control.wait(std::chrono::seconds(10)));
  EXPECT_NE(control.output().find("7654321987654321"), std::string::npos);
  EXPECT_EQ(control.output().find("WARNING"), std::string::npos) << control.output();
  run_program({programs + "/postgres", "--single", "-D", copy, "postgres"}, user, true,
              "select 1;\n");
}

}  // namespace
}  // namespace trunkline::agent
