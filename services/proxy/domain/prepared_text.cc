#include "proxy/domain/prepared_text.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kMostName = 63;  // bytes; longer ones are cut

struct Token {
  enum class Kind { space, word, name, string, mark, end, broken };
  Kind kind = Kind::end;
  std::string_view text;
};
using Kind = Token::Kind;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool begins_word(char c) {
  return (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || (c & 0x80) != 0;
}
bool in_word(char c) { return begins_word(c) || (c >= '0' && c <= '9') || c == '$'; }

// PostgreSQL's lexer, as far as ends of statements and names need it.
class Lexer {
 public:
  Lexer(std::string_view text, bool backslashes) : text_(text), backslashes_(backslashes) {}

  // Spaces and comments are one token.
  Token next() {
    const size_t begin = at_;
    if (at_ >= text_.size()) return {Kind::end, {}};
    if (!pass_blank()) return {Kind::broken, {}};
    if (at_ > begin) return token(Kind::space, begin);
    const char c = text_[at_];
    if (c == '\'') return quoted('\'', backslashes_, Kind::string, begin);
    if (c == '"') return quoted('"', false, Kind::name, begin);
    if (c == '$' && !in_word_before()) return dollar(begin);
    if (begins_word(c)) return word(begin);
    if (c >= '0' && c <= '9') {  // with what sticks to it
      while (at_ < text_.size() && in_word(text_[at_])) ++at_;
      return token(Kind::mark, begin);
    }
    ++at_;
    return token(Kind::mark, begin);
  }
  size_t at() const { return at_; }

 private:
  Token token(Kind kind, size_t begin) const { return {kind, text_.substr(begin, at_ - begin)}; }
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  bool in_word_before() const { return at_ > 0 && in_word(text_[at_ - 1]); }

  bool pass_blank() {
    while (at_ < text_.size()) {
      if (is_space(text_[at_])) {
        ++at_;
      } else if (starts("--")) {
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      } else if (starts("/*")) {
        if (!pass_block()) return false;
      } else {
        break;
      }
    }
    return true;
  }
  bool pass_block() {
    int depth = 0;
    while (at_ < text_.size()) {
      if (starts("/*")) {
        ++depth;
        at_ += 2;
      } else if (starts("*/")) {
        at_ += 2;
        if (--depth == 0) return true;
      } else {
        ++at_;
      }
    }
    return false;
  }
  Token quoted(char quote, bool escapes, Kind kind, size_t begin) {
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '\\' && escapes) {
        ++at_;
      } else if (c == quote) {
        if (at_ < text_.size() && text_[at_] == quote) {
          ++at_;
        } else {
          return token(kind, begin);
        }
      }
    }
    return {Kind::broken, {}};
  }
  Token word(size_t begin) {
    const char c = lower(text_[at_]);
    const bool quote_next = at_ + 1 < text_.size() && text_[at_ + 1] == '\'';
    if (quote_next && (c == 'e' || c == 'b' || c == 'x' || c == 'n')) {
      ++at_;
      return quoted('\'', c == 'e' || backslashes_, Kind::string, begin);
    }
    if (c == 'u' && at_ + 2 < text_.size() && text_[at_ + 1] == '&' &&
        (text_[at_ + 2] == '\'' || text_[at_ + 2] == '"')) {
      at_ += 2;
      return quoted(text_[at_], false, Kind::string, begin);  // no name is read from it
    }
    while (at_ < text_.size() && in_word(text_[at_])) ++at_;
    return token(Kind::word, begin);
  }
  // $tag$ … $tag$, or a parameter's sign.
  Token dollar(size_t begin) {
    size_t end = at_ + 1;
    if (end < text_.size() && (begins_word(text_[end]) || text_[end] == '$')) {
      while (end < text_.size() && text_[end] != '$' && in_word(text_[end])) ++end;
      if (end < text_.size() && text_[end] == '$') {
        const std::string_view tag = text_.substr(at_, end + 1 - at_);
        const size_t close = text_.find(tag, end + 1);
        if (close == std::string_view::npos) return {Kind::broken, {}};
        at_ = close + tag.size();
        return token(Kind::string, begin);
      }
    }
    ++at_;
    return token(Kind::mark, begin);
  }

  const std::string_view text_;
  const bool backslashes_;
  size_t at_ = 0;
};

bool is_word(const Token& token, std::string_view word) {
  if (token.kind != Kind::word || token.text.size() != word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    if (lower(token.text[i]) != word[i]) return false;
  }
  return true;
}

std::string name_of(const Token& token) {
  std::string out;
  if (token.kind == Kind::word) {
    for (const char c : token.text) out.push_back(lower(c));
  } else {
    const std::string_view inner = token.text.substr(1, token.text.size() - 2);
    for (size_t i = 0; i < inner.size(); ++i) {
      out.push_back(inner[i]);
      if (inner[i] == '"') ++i;
    }
  }
  return out.substr(0, kMostName);
}

// One statement of several, as it is read.
struct Reading {
  enum class Step { first, name, types_or_as, types, as, body, other };
  Step step = Step::first;
  std::string name;
  size_t depth = 0;
  size_t body = 0;  // where it begins

  void take(const Token& token, size_t end) {
    const bool mark = token.kind == Kind::mark;
    switch (step) {
      case Step::first:
        step = is_word(token, "prepare") ? Step::name : Step::other;
        return;
      case Step::name:
        if (token.kind != Kind::word && token.kind != Kind::name) {
          step = Step::other;
          return;
        }
        name = name_of(token);
        step = Step::types_or_as;
        return;
      case Step::types_or_as:
        if (mark && token.text == "(") {
          depth = 1;
          step = Step::types;
          return;
        }
        [[fallthrough]];
      case Step::as:
        step = is_word(token, "as") ? Step::body : Step::other;
        body = end;
        return;
      case Step::types:
        if (mark && token.text == "(") ++depth;
        if (mark && token.text == ")" && --depth == 0) step = Step::as;
        return;
      case Step::body:
      case Step::other:
        return;
    }
  }
};

}  // namespace

std::optional<std::string> prepared_statement(std::string_view text, std::string_view name,
                                              bool backslashes) {
  Lexer lexer(text, backslashes);
  std::optional<std::string> out;
  Reading reading;
  size_t depth = 0;
  // 'one' <new line> 'string': the second half is read as the first was, which is not followed.
  bool string_before = false;
  bool continues = false;
  while (true) {
    const size_t begin = lexer.at();
    const Token token = lexer.next();
    if (token.kind == Kind::broken) return std::nullopt;
    const bool mark = token.kind == Kind::mark;
    if (token.kind == Kind::end || (mark && token.text == ";" && depth == 0)) {
      if (reading.step == Reading::Step::body && reading.name == name) {
        if (out) return std::nullopt;
        out = std::string(text.substr(reading.body, begin - reading.body));
      }
      if (token.kind == Kind::end) return out;
      reading = {};
      continue;
    }
    if (token.kind == Kind::space) {
      continues = string_before && token.text.find_first_of("\n\r") != std::string_view::npos;
      continue;
    }
    if (continues && token.text[0] == '\'') return std::nullopt;
    string_before = token.kind == Kind::string;
    continues = false;
    if (mark && token.text == "(") ++depth;
    if (mark && token.text == ")" && depth > 0) --depth;
    reading.take(token, lexer.at());
  }
}

}  // namespace trunkline::proxy
