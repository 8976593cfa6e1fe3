#include "cli/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/json.h"

namespace trunkline::cli {
namespace {

const std::string kBad = "\xef\xbf\xbd";

TEST(Printable, TruthTable) {
  struct Row {
    const char* name;
    std::string text;
    std::string shown;
  };
  const Row rows[] = {
      {"plain", "demo", "demo"},
      {"accents", "\xc3\xa9", "\xc3\xa9"},
      {"line break", "a\nb\tc\rd", "a b c d"},
      {"escape sequence", "\x1b[2J", kBad + "[2J"},
      {"C1 control", "\xc2\x9b" "31m", kBad + "31m"},
      {"delete", "\x7f", kBad},
      {"right-to-left override", "\xe2\x80\xae" "x", kBad + "x"},
      {"bad UTF-8", "\xff", kBad},
      {"NUL", std::string("a\0b", 3), "a" + kBad + "b"},
  };
  for (const Row& row : rows) EXPECT_EQ(printable(row.text), row.shown) << row.name;
}

TEST(DisplayWidth, CountsColumnsNotBytes) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("\xc3\xa9"), 1u);
  EXPECT_EQ(display_width("\xe6\xbc\xa2"), 2u);   // a wide ideograph
  EXPECT_EQ(display_width("e\xcc\x81"), 1u);      // combining accent
}

TEST(RenderTable, AlignsAndHasNoTrailingBlanks) {
  const std::string table = render_table({{"NAME"}, {"CPU", true}, {"NOTE"}},
                                         {{"a", "1", ""}, {"\xe6\xbc\xa2\xe5\xad\x97", "128", "x"}},
                                         0);
  EXPECT_EQ(table,
            "NAME  CPU  NOTE\n"
            "a       1\n"
            "\xe6\xbc\xa2\xe5\xad\x97  128  x\n");
}

TEST(RenderTable, ANameCannotMakeALineOfItsOwn) {
  const std::string table = render_table({{"NAME"}}, {{"a\nforged"}, {"\x1b[31mred"}}, 0);
  EXPECT_EQ(table, "NAME\na forged\n" + kBad + "[31mred\n");
}

TEST(RenderTable, CutsOnlyWhatMayBeCutToTheTerminal) {
  const std::string long_name(60, 'n');
  const std::string uuid = "0b9f6b3e-0000-4000-8000-000000000001";
  const std::string table =
      render_table({{"UUID"}, {"NAME", false, true}}, {{uuid, long_name}}, 60);
  EXPECT_THAT(table, testing::HasSubstr(uuid));
  EXPECT_THAT(table, testing::HasSubstr("\xe2\x80\xa6"));
  for (size_t begin = 0; begin < table.size();) {
    const size_t end = table.find('\n', begin);
    EXPECT_LE(display_width(table.substr(begin, end - begin)), 60u);
    begin = end + 1;
  }
}

TEST(RenderTable, WithoutALimitNothingIsCut) {
  const std::string long_name(500, 'n');
  EXPECT_THAT(render_table({{"NAME", false, true}}, {{long_name}}, 0),
              testing::HasSubstr(long_name));
}

TEST(RenderTable, RowsThatAreTooShortAreFilledUp) {
  EXPECT_EQ(render_table({{"A"}, {"B"}}, {{"1"}}, 0), "A  B\n1\n");
}

TEST(RenderFields, LeavesEmptyValuesOut) {
  EXPECT_EQ(render_fields({{"name", "demo"}, {"error", ""}, {"description", "d"}}),
            "name:         demo\ndescription:  d\n");
}

TEST(TextOf, TruthTable) {
  const Json json = Json::parse(
      R"({"a":"x","n":7,"b":true,"l":["p","q"],"o":{"i":{"d":"deep"}},"z":null})");
  EXPECT_EQ(text_of(json, "a"), "x");
  EXPECT_EQ(text_of(json, "n"), "7");
  EXPECT_EQ(text_of(json, "b"), "true");
  EXPECT_EQ(text_of(json, "l"), "p, q");
  EXPECT_EQ(text_of(json, "o.i.d"), "deep");
  EXPECT_EQ(text_of(json, "o"), R"({"i":{"d":"deep"}})");
  EXPECT_EQ(text_of(json, "z"), "");
  EXPECT_EQ(text_of(json, "o.x.d"), "");
  EXPECT_EQ(text_of(json, "a.b"), "");
  EXPECT_EQ(text_of(Json::parse("[1]"), "a"), "");
}

}  // namespace
}  // namespace trunkline::cli
