// What the command line says of itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/tests/command_harness.h"

namespace trunkline::cli {
namespace {

using ::testing::HasSubstr;

// Every option says what it is, which values it takes, and what holds without it.
void check(const CLI::App& app, const std::string& path) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = path + " " + option->get_name(true, true);
    if (name.ends_with("--help")) continue;
    EXPECT_FALSE(option->get_description().empty()) << name;
    if (option->get_items_expected_max() == 0) continue;  // a flag
    const std::string values = option->get_type_name();
    EXPECT_NE(values.substr(0, values.find(':')), "TEXT") << name;
    EXPECT_NE(values.substr(0, values.find(':')), "INT") << name;
    EXPECT_NE(values.substr(0, values.find(':')), "UINT") << name;
    EXPECT_FALSE(values.empty()) << name;
    if (!option->get_required()) {
      EXPECT_THAT(option->get_description(), HasSubstr("default")) << name;
    }
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    EXPECT_FALSE(command->get_description().empty()) << path << " " << command->get_name();
    check(*command, path + " " + command->get_name());
  }
}

TEST(Help, EveryOptionOfEveryCommandSaysWhatItTakes) {
  std::istringstream in;
  std::ostringstream out, err;
  const Terminal terminal{.in = in, .out = out, .err = err};
  Session session(terminal, [](const std::string&) { return std::nullopt; });
  check(*make_app(session), "trunkline");
}

TEST(Help, SaysWhatWasMeant) {
  const std::pair<std::vector<std::string>, const char*> rows[] = {
      {{"instance", "list"}, "there is no command 'instance'; did you mean 'instances'?"},
      {{"instances", "lst"}, "there is no command 'lst'; did you mean 'list'?"},
      {{"instances", "delet", "x"}, "did you mean 'delete'?"},
      {{"-o", "json", "user", "list"}, "did you mean 'users'?"},
      {{"instances", "create", "--nmae", "x"},
       "there is no option '--nmae'; did you mean '--name'?"},
      {{"instances", "create", "--name", "x", "--cpus=2"}, "did you mean '--cpu'?"},
      {{"qqqqqq"}, "there is no command 'qqqqqq': there is instances, failovers,"},
  };
  for (const auto& [arguments, expected] : rows) {
    const Ran ran = run_command(arguments, {});
    EXPECT_EQ(ran.code, static_cast<int>(ExitCode::usage));
    EXPECT_THAT(ran.err, HasSubstr(expected));
  }
}

}  // namespace
}  // namespace trunkline::cli
