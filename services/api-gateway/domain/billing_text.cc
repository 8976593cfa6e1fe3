#include "api-gateway/domain/billing_text.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace trunkline::gateway {
namespace {

// A spreadsheet takes a text that begins with one of these for a formula.
bool looks_like_formula(std::string_view text) {
  if (text.empty()) return false;
  if (text.front() != '-') return std::string_view("=+@\t\r").find(text.front()) != text.npos;
  return text.find_first_not_of("0123456789.", 1) != text.npos;
}

std::string csv_field(const nlohmann::json& value) {
  if (value.is_null()) return {};
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (looks_like_formula(text)) text.insert(0, 1, '\'');
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  quoted.push_back('"');
  return quoted;
}

std::string list_of(const std::vector<std::string>& documents, char letter) {
  std::string out = "[";
  for (size_t i = 1; i < documents.size(); ++i) {
    if (documents[i].empty() || documents[i].front() != letter) continue;
    if (out.size() > 1) out += ',';
    out.append(documents[i], 1, std::string::npos);
  }
  return out + "]";
}

}  // namespace

std::string csv_text(const std::vector<std::string>& columns,
                     const std::vector<std::string>& documents) {
  std::string out;
  for (const auto& column : columns) out += (out.empty() ? "" : ",") + column;
  out += "\r\n";
  for (const auto& document : documents) {
    const auto row = nlohmann::json::parse(document, nullptr, false);
    for (size_t i = 0; i < columns.size(); ++i) {
      if (i > 0) out += ',';
      const auto found = row.find(columns[i]);
      if (found != row.end()) out += csv_field(*found);
    }
    out += "\r\n";
  }
  return out;
}

std::string invoice_text(const std::vector<std::string>& documents) {
  std::string out = documents.empty() ? std::string("{}") : documents.front();
  if (!out.ends_with('}')) return out;
  out.pop_back();
  constexpr std::pair<char, const char*> kLists[] = {
      {'L', "lines"}, {'U', "unpriced"}, {'D', "differences"}};
  for (const auto& [letter, name] : kLists) {
    if (!out.ends_with('{')) out += ',';
    out += std::string("\"") + name + "\":" + list_of(documents, letter);
  }
  return out + "}";
}

std::vector<std::string> invoice_lines(const std::vector<std::string>& documents) {
  std::vector<std::string> out;
  for (size_t i = 1; i < documents.size(); ++i) {
    if (documents[i].starts_with('L')) out.push_back(documents[i].substr(1));
  }
  return out;
}

}  // namespace trunkline::gateway
