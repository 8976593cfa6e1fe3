#include "cli/commands.h"

namespace trunkline::cli {
namespace {

std::string options_of(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) out += " --" + name;
    for (const std::string& name : option->get_snames()) out += " -" + name;
  }
  return out;
}

std::string commands_of(const CLI::App& app) {
  std::string out;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_name().empty()) out += " " + command->get_name();
  }
  return out;
}

// One case of the script for `app` and each command below it: the words that may follow.
void add_cases(const CLI::App& app, const std::string& path, std::string& script) {
  std::string words = commands_of(app) + options_of(app);
  script += "    \"" + path + "\") words=\"" + words.substr(words.empty() ? 0 : 1) + "\" ;;\n";
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name().empty()) continue;
    add_cases(*command, path + (path.empty() ? "" : " ") + command->get_name(), script);
  }
}

// Names come from the API with whatever the user's environment says; without it there are none.
constexpr char kHead[] = R"bash(# bash completion of trunkline: source <(trunkline completion bash)
_trunkline() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local path="" words="" word names="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    case "$word" in
      -*) ;;
      *) case " $(_trunkline_words "$path") " in
           *" $word "*) path="${path:+$path }$word" ;;
         esac ;;
    esac
  done
  case "$previous" in
    -o|--output) COMPREPLY=($(compgen -W "table json" -- "$current")); return ;;
    --token-file|--password-file|--out|--run-json)
      COMPREPLY=($(compgen -f -- "$current")); return ;;
    --role) COMPREPLY=($(compgen -W "admin member reader" -- "$current")); return ;;
    --instance) names=instances ;;
    --version) names=versions ;;
  esac
  if [[ -z "$names" && "$current" != -* ]]; then
    case "$path" in
      "instances "[gudhr]*|"versions "[gud]*|"hosts "[gcudl]*|"tokens revoke")
        names="${path%% *}" ;;
      "failovers "*|logs) names=instances ;;
    esac
    case "$path" in "failovers list") ;; *" list"|*" create") names="" ;; esac
  fi
  if [[ -n "$names" ]]; then
    words="$(trunkline "$names" list -o json 2>/dev/null |
             sed -n 's/^    "name": "\([A-Za-z0-9_.-]*\)",\{0,1\}$/\1/p')"
  else
    words="$(_trunkline_words "$path")"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
_trunkline_words() {
  local words=""
  case "$1" in
)bash";
constexpr char kTail[] = R"bash(  esac
  printf '%s' "$words"
}
complete -F _trunkline trunkline
)bash";

}  // namespace

void add_completion(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "completion", "print a completion script");
  CLI::App* command =
      add_command(*group, "bash", "for bash: source <(trunkline completion bash)");
  command->callback([&app, &session] {
    session.action = [&app, &session] {
      std::string script = kHead;
      add_cases(app, "", script);
      session.terminal.out << script << kTail;
      return ExitCode::ok;
    };
  });
}

}  // namespace trunkline::cli
