// The completion of shells, from the options and the keys of a configuration.

#include <algorithm>

#include "apps/common/config/config.h"
#include "apps/common/config/options.h"
#include "core/text.h"

namespace sked {
namespace {

/// The words that a key takes, where it has names for them; none for a language of its own such as pipelines.
std::vector<std::string> words_of(const Field& field) {
  if (const auto* choice = std::get_if<ChoicePointer>(&field.value)) return choice->names();
  if (std::holds_alternative<bool*>(field.value)) return {"true", "false"};
  std::vector<std::string> names = field.allowed.names ? field.allowed.names() : std::vector<std::string>{};
  const auto is_word = [](const std::string& name) { return name.find_first_of("( ,") == std::string::npos; };
  return std::ranges::all_of(names, is_word) ? names : std::vector<std::string>{};
}

/// All keys of a configuration, whatever its task.
std::vector<std::pair<std::string, std::vector<std::string>>> keys() {
  std::vector<std::pair<std::string, std::vector<std::string>>> all;
  for (const TaskKind task : {TaskKind::classification, TaskKind::contrastive}) {
    RunConfig config;
    config.task = task;
    for (const Field& field : fields_of(config))
      if (std::ranges::find(all, field.path, &decltype(all)::value_type::first) == all.end())
        all.emplace_back(field.path, words_of(field));
  }
  return all;
}

}  // namespace

std::string completion_script(const AppText& text, const std::vector<Option>& options, const std::string& shell) {
  const std::string function = "_skedastic_" + text.name;
  std::vector<std::string> names{"--help"}, arguments;
  std::string values, key_names, key_values;
  for (const Option& option : options) {
    if (!option.name.starts_with("-")) {
      arguments.insert(arguments.end(), option.one_of.begin(), option.one_of.end());
      continue;
    }
    names.push_back(option.name);
    if (option.name == "--set" || std::holds_alternative<bool*>(option.target)) continue;
    const std::string words = join(option.one_of, " ");
    values += "    " + option.name + ") words=\"" + words + "\"; files=" + (words.empty() ? "1" : "") + " ;;\n";
  }
  for (const auto& [key, words] : keys()) {
    key_names += " " + key + "=";
    if (!words.empty()) key_values += "    " + key + ") words=\"" + join(words, " ") + "\" ;;\n";
  }
  // bash takes `key=value` apart into three words, zsh does not.
  std::string script = shell == "zsh" ? "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" : "";
  script +=
      function +
      "() {\n"
      "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" words= files= before= key=\n"
      "  if [[ $cur == \"=\" ]]; then key=$prev; cur=\n"
      "  elif [[ $prev == \"=\" ]]; then key=\"${COMP_WORDS[COMP_CWORD-2]}\"\n"
      "  elif [[ $cur == ?*=* ]]; then key=\"${cur%%=*}\"; cur=\"${cur#*=}\"; before=\"$key=\"; fi\n"
      "  if [[ $key == --* ]]; then prev=$key; key=; fi\n";
  if (text.has("--set"))
    script +=
        "  if [[ $prev == --set && -z $key ]]; then\n"
        "    compopt -o nospace 2>/dev/null\n"
        "    words=\"" +
        key_names.substr(1) +
        "\"\n"
        "  elif [[ -n $key ]]; then case \"$key\" in\n" +
        key_values + "    *) files=1 ;;\n    esac\n  else";
  else
    script += "  :";
  script += " case \"$prev\" in\n" + values + "    *) if [[ $cur == -* ]]; then words=\"" + join(names, " ") +
            "\"; else words=\"" + join(arguments, " ") + "\"; files=1; fi ;;\n  esac" +
            (text.has("--set") ? "; fi\n" : "\n") +
            "  COMPREPLY=()\n"
            "  [[ -n $words ]] && COMPREPLY=($(compgen -P \"$before\" -W \"$words\" -- \"$cur\"))\n"
            "  local IFS=$'\n'\n"
            "  [[ -n $files ]] && COMPREPLY+=($(compgen -P \"$before\" -f -- \"$cur\"))\n"
            "}\n"
            "complete -o filenames -F " +
            function + " " + text.name + "\n";
  return script;
}

}  // namespace sked
