// What somebody meant who wrote a command or an option that there is not.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace trunkline::cli {

// "there is no command 'instance'; did you mean 'instances'?"; empty if all words are known. To be
// called with arguments that could not be parsed.
std::string what_was_meant(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace trunkline::cli
