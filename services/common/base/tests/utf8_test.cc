#include "base/utf8.h"

#include <gtest/gtest.h>

namespace trunkline {
namespace {

TEST(BoundedText, IsCutBetweenCharactersAndIsUtf8) {
  const std::pair<std::string, std::string> rows[] = {
      {"", ""},
      {"abcdef", "abcde"},
      {"abcd\u00e9", "abcd"},          // two bytes, one too many
      {"abc\u00e9x", "abc\u00e9"},
      {"a\U0001f600b", "a\U0001f600"},
      {"a\xff\xc3", "a??"},
      {"\xed\xa0\x80", "???"},         // a surrogate
      {"\xc0\xaf", "??"},              // overlong
  };
  for (const auto& [given, expected] : rows) EXPECT_EQ(bounded_text(given, 5), expected) << given;
}

TEST(HiddenCharacter, IsNamed) {
  const std::pair<const char*, const char*> rows[] = {
      {"plain", ""},
      {"\u00e9\u4e2d\U0001f600", ""},
      {"a\u202eb", "U+202E"},
      {"a\u2066b", "U+2066"},
      {"a\u200bb", "U+200B"},
      {"\ufeff", "U+FEFF"},
      {"a\u0085b", "U+0085"},
      {"a\u2028b", "U+2028"},
      {"a\u00adb", "U+00AD"},
      {"a\U000e0041b", "U+E0041"},
      {"a\u200db", "U+200D"},
  };
  for (const auto& [text, expected] : rows) {
    EXPECT_EQ(hidden_character(text, true).value_or(""), expected) << text;
  }
  EXPECT_FALSE(hidden_character("a\u200db\u200cc", false));
  EXPECT_TRUE(hidden_character("a\u202eb", false));
}

}  // namespace
}  // namespace trunkline
