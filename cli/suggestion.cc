#include "cli/suggestion.h"

#include <algorithm>
#include <numeric>

namespace trunkline::cli {
namespace {

// Letters to add, take away or replace.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

std::string closest(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  size_t least = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& name : known) {
    const bool begins = word.size() >= 3 && name.starts_with(word);
    const size_t far = begins ? 1 : distance(word, name);
    if (far < least) {
      least = far;
      best = name;
    }
  }
  return best;
}

std::string sentence(const char* what, const std::string& word,
                     const std::vector<std::string>& known) {
  std::string out = std::string("there is no ") + what + " '" + word + "'";
  if (const std::string meant = closest(word, known); !meant.empty()) {
    return out + "; did you mean '" + meant + "'?";
  }
  for (size_t i = 0; i < known.size(); ++i) out += (i == 0 ? ": there is " : ", ") + known[i];
  return out;
}

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    out.push_back(command->get_name());
  }
  return out;
}

// Of the command and of what it belongs to.
std::vector<std::string> options_of(const CLI::App* app) {
  std::vector<std::string> out;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
      for (const std::string& name : option->get_snames()) out.push_back("-" + name);
    }
  }
  return out;
}

}  // namespace

std::string what_was_meant(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* at = &app;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--") break;
    if (word.starts_with("--")) {
      const std::string name = word.substr(0, word.find('='));
      const auto known = options_of(at);
      if (std::ranges::find(known, name) == known.end()) return sentence("option", name, known);
    }
    if (word.starts_with("-")) {
      const CLI::Option* option = nullptr;
      for (const CLI::App* where = at; where != nullptr && option == nullptr;
           where = where->get_parent()) {
        option = where->get_option_no_throw(word.substr(0, word.find('=')));
      }
      // Its value is no command.
      const bool takes_next = option != nullptr && option->get_items_expected_min() > 0 &&
                              word.find('=') == std::string::npos;
      if (takes_next) ++i;
      continue;
    }
    const auto known = commands_of(*at);
    if (known.empty()) continue;
    if (std::ranges::find(known, word) == known.end()) return sentence("command", word, known);
    at = at->get_subcommand(word);
  }
  return {};
}

}  // namespace trunkline::cli
