#include "telemetry/log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace trunkline::telemetry {
namespace {

using namespace std::string_literals;

struct Utf8Row {
  const char* name;
  std::string text;
  std::string clean;
};

TEST(CleanUtf8, TruthTable) {
  const std::string bad = "\xef\xbf\xbd";
  const Utf8Row rows[] = {
      {"empty", "", ""},
      {"ascii", "plain", "plain"},
      {"two bytes", "\xc3\xa9", "\xc3\xa9"},
      {"three bytes", "\xe2\x82\xac", "\xe2\x82\xac"},
      {"four bytes", "\xf0\x9f\x90\x98", "\xf0\x9f\x90\x98"},
      {"lonely continuation", "a\x80z", "a" + bad + "z"},
      {"overlong slash", "\xc0\xaf", bad + bad},
      {"overlong three", "\xe0\x80\xaf", bad + bad + bad},
      {"overlong four", "\xf0\x80\x80\xaf", bad + bad + bad + bad},
      {"surrogate", "\xed\xa0\x80", bad + bad + bad},
      {"above unicode", "\xf4\x90\x80\x80", bad + bad + bad + bad},
      {"truncated", "ab\xe2\x82", "ab" + bad + bad},
      {"0xff", "\xff", bad},
      {"NUL stays", "a\0b"s, "a\0b"s},
  };
  for (const Utf8Row& row : rows) {
    EXPECT_EQ(clean_utf8(row.text, 100), row.clean) << row.name;
  }
}

TEST(CleanUtf8, CutsAtACharactersEnd) {
  EXPECT_EQ(clean_utf8("ab\xe2\x82\xac", 4), "ab");
  EXPECT_EQ(clean_utf8("ab\xe2\x82\xac", 5), "ab\xe2\x82\xac");
}

TEST(AppendJsonString, EveryByteComesBackOrIsReplaced) {
  // given: every byte value alone between two letters
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = "a"s + static_cast<char>(byte) + "z";
    std::string out;
    append_json_string(out, text, 1000);
    // then: valid JSON on one line, with the same text where it was well-formed
    ASSERT_EQ(out.find('\n'), std::string::npos) << byte;
    const auto parsed = nlohmann::json::parse(out).get<std::string>();
    EXPECT_EQ(parsed, byte < 0x80 ? text : "a\xef\xbf\xbdz"s) << byte;
  }
}

TEST(AppendJsonString, NoControlCharacterReachesTheTerminal) {
  std::string out;
  append_json_string(out, "\x1b[2J\x7f\xe2\x80\xa8\xe2\x80\xa9", 1000);
  EXPECT_EQ(out, R"("\u001b[2J\u007f\u2028\u2029")");
}

TEST(FormatLogLine, AMessageCannotForgeAFieldOrALine) {
  const std::string attack = "x\"}\n{\"level\":\"error\",\"msg\":\"forged";
  LogLine line{.ts = "2026-01-15T10:30:00.123456Z",
               .level = "info",
               .service = "gateway",
               .instance = {},
               .trace_id = {},
               .span_id = {},
               .msg = attack};
  const std::string text = format_log_line(line);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(text.back(), '\n');
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json.at("msg"), attack);
  EXPECT_EQ(json.at("level"), "info");
  EXPECT_FALSE(json.contains("trace_id"));
  EXPECT_FALSE(json.contains("instance"));
}

TEST(FormatLogLine, ALongMessageIsCut) {
  const std::string huge(1 << 20, 'x');
  LogLine line;
  line.msg = huge;
  EXPECT_LT(format_log_line(line).size(), 17u * 1024);
}

}  // namespace
}  // namespace trunkline::telemetry
