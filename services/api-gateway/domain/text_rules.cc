#include "api-gateway/domain/text_rules.h"

#include <algorithm>
#include <string>

#include "api-gateway/domain/target.h"
#include "base/name_rules.h"
#include "base/utf8.h"

namespace trunkline::gateway {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

Problem malformed(const Field& field, std::string_view rule) {
  return bad_request(std::string(field.name) + "_malformed",
                     std::string(field.name) + " " + std::string(rule));
}

std::optional<Problem> as_problem(const std::optional<BrokenNameRule>& broken) {
  if (!broken) return std::nullopt;
  return bad_request(broken->rule, broken->message);
}

std::optional<Problem> check_free(const Field& field, std::string_view value, bool one_line) {
  const auto bad = [&](char c) {
    const bool layout = c == '\n' || c == '\r' || c == '\t';
    return is_control(c) && (one_line || !layout);
  };
  if (std::any_of(value.begin(), value.end(), bad)) {
    return malformed(field, "must not hold control characters");
  }
  if (const auto hidden = hidden_character(value, one_line)) {
    return malformed(field, "must not hold " + *hidden +
                                ": characters that are not seen or change how others are read");
  }
  return std::nullopt;
}

std::optional<Problem> check_image(const Field& field, std::string_view value) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_' || c == '.';
  };
  const bool plain = std::all_of(value.begin(), value.end(), allowed);
  if (plain && value[0] != '.') return std::nullopt;
  return malformed(field,
                   "must consist of lower-case letters, digits, dashes, underscores and dots, and "
                   "not start with a dot");
}

std::optional<Problem> check_locale(const Field& field, std::string_view value) {
  const auto allowed = [](char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == '.' || c == '@' || c == '-';
  };
  if (std::all_of(value.begin(), value.end(), allowed)) return std::nullopt;
  return malformed(field, "must consist of letters, digits, '_', '.', '@' and '-', as en_US.UTF-8");
}

std::optional<Problem> check_length(const Field& field, std::string_view value) {
  const auto count = static_cast<int64_t>(character_count(value));
  if (count >= field.min && count <= field.max) return std::nullopt;
  const char* rule = count > field.max ? "_too_long" : count == 0 ? "_missing" : "_too_short";
  return bad_request(std::string(field.name) + rule,
                     std::string(field.name) + " must have " + std::to_string(field.min) + " to " +
                         std::to_string(field.max) + " characters");
}

}  // namespace

std::optional<Problem> check_text(const Field& field, std::string_view value) {
  if (auto problem = check_length(field, value)) return problem;
  switch (field.text_rule) {
    case TextRule::free: return check_free(field, value, false);
    case TextRule::line: return check_free(field, value, true);
    case TextRule::secret: return std::nullopt;
    case TextRule::database_name: return as_problem(check_object_database_name(value));
    case TextRule::user_name: return as_problem(check_object_user_name(value));
    case TextRule::image: return check_image(field, value);
    case TextRule::locale: return check_locale(field, value);
  }
  return std::nullopt;
}

}  // namespace trunkline::gateway
