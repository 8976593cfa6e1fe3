#include "cli/json.h"

namespace trunkline::cli {
namespace {

std::string scalar_text(const Json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    std::string out;
    for (const Json& element : value) {
      if (!out.empty()) out += ", ";
      out += scalar_text(element);
    }
    return out;
  }
  return compact(value);
}

}  // namespace

std::string text_of(const Json& document, const std::string& path) {
  const Json* at = &document;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t dot = path.find('.', begin);
    const std::string name = path.substr(begin, dot == std::string::npos ? dot : dot - begin);
    if (!at->is_object()) return {};
    const auto found = at->find(name);
    if (found == at->end()) return {};
    at = &*found;
    if (dot == std::string::npos) break;
    begin = dot + 1;
  }
  return scalar_text(*at);
}

std::string pretty(const Json& document) {
  return document.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string compact(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace trunkline::cli
