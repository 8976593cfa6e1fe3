#include "agent/domain/log_text.h"

#include <gtest/gtest.h>

namespace trunkline::agent {
namespace {

const std::string kFirst = "2026-01-15 10:30:00.123 UTC [7] LOG:  starting\n";
const std::string kDetail = "\tDETAIL: more of it\n";
const std::string kSecond = "2026-01-15 10:30:01.000 UTC [7] LOG:  ready\n";
constexpr int64_t kFirstTime = 1'768'473'000'123'000;

TEST(WholeLines, TruthTable) {
  EXPECT_EQ(whole_lines("", false), 0u);
  EXPECT_EQ(whole_lines("ab", false), 0u);
  EXPECT_EQ(whole_lines("ab", true), 2u);
  EXPECT_EQ(whole_lines("ab\n", false), 3u);
  EXPECT_EQ(whole_lines("ab\ncd", true), 3u);
}

TEST(LastLines, TruthTable) {
  EXPECT_EQ(last_lines("", 3), "");
  EXPECT_EQ(last_lines("a\nb\nc\n", 0), "");
  EXPECT_EQ(last_lines("a\nb\nc\n", 1), "c\n");
  EXPECT_EQ(last_lines("a\nb\nc\n", 2), "b\nc\n");
  EXPECT_EQ(last_lines("a\nb\nc\n", 3), "a\nb\nc\n");
  EXPECT_EQ(last_lines("a\nb\nc\n", 9), "a\nb\nc\n");
  EXPECT_EQ(last_lines("a\n\n\n", 2), "\n\n");
  EXPECT_EQ(last_lines("\n", 1), "\n");
  EXPECT_EQ(last_lines("a\nb", 1), "b");
}

TEST(LineTime, TruthTable) {
  EXPECT_EQ(line_time_unix_us(kFirst), kFirstTime);
  EXPECT_EQ(line_time_unix_us("1970-01-01 00:00:00.001 UTC x"), 1000);
  EXPECT_FALSE(line_time_unix_us(kDetail));
  EXPECT_FALSE(line_time_unix_us("2026-01-15 10:30:00.123 CET [7]"));
  EXPECT_FALSE(line_time_unix_us("2026-01-15 10:30"));
  EXPECT_FALSE(line_time_unix_us(""));
}

TEST(LinesSince, TakesWhatBelongsToALineWithIt) {
  const std::string text = kFirst + kDetail + kSecond;
  EXPECT_EQ(lines_since(text, 0), text);
  EXPECT_EQ(lines_since(text, kFirstTime), text);
  EXPECT_EQ(lines_since(text, kFirstTime + 1), kSecond);
  EXPECT_EQ(lines_since(text, kFirstTime + 10'000'000), "");
  EXPECT_EQ(lines_since(kDetail + kSecond, 0), kSecond);  // older than all that has a time
  EXPECT_EQ(lines_since("", 0), "");
}

TEST(WithoutSecrets, TruthTable) {
  const std::pair<const char*, const char*> rows[] = {
      {"plain\n", "plain\n"},
      {"ALTER ROLE a PASSWORD 'hunter2';\n", "ALTER ROLE a PASSWORD '***';\n"},
      {"password='hunter2' host=x\n", "password '***' host=x\n"},
      {"PASSWORD 'it''s me' next\n", "PASSWORD '***' next\n"},
      {"PASSWORD 'not closed\nnext\n", "PASSWORD '***'\nnext\n"},
      {"password authentication failed for user \"bob\"\n",
       "password authentication failed for user \"bob\"\n"},
      {"x 'SCRAM-SHA-256$4096:c2FsdA==$a:b' y\n", "x '***' y\n"},
      {"SCRAM-SHA-256$4096:c2FsdA==$a:b\n", "***\n"},
      {"bell\a esc\x1b[2J del\x7f tab\t\n", "bell? esc?[2J del? tab\t\n"},
      {"password", "password"},
  };
  for (const auto& [text, wanted] : rows) EXPECT_EQ(without_secrets(text), wanted) << text;
}

}  // namespace
}  // namespace trunkline::agent
