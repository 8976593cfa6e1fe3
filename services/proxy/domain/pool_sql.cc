#include "proxy/domain/pool_sql.h"

#include <algorithm>
#include <array>

namespace trunkline::proxy {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool begins_word(char c) {
  const char low = lower(c);
  return (low >= 'a' && low <= 'z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

bool within_word(char c) { return begins_word(c) || (c >= '0' && c <= '9') || c == '$'; }

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

struct Token {
  enum class Kind { end, word, quoted_name, other };
  Kind kind = Kind::end;
  std::string text;  // a word in lower case, a name as it is, or one character
  size_t begin = 0;
  size_t end = 0;
  bool is(std::string_view word) const { return kind == Kind::word && text == word; }
};

// Words, quoted names and single characters; strings count as one character, comments as none.
class Tokens {
 public:
  explicit Tokens(std::string_view text) : text_(text) {}

  Token next() {
    skip_blank();
    Token out;
    out.begin = at_;
    if (at_ >= text_.size()) {
      out.end = at_;
      return out;
    }
    const char c = text_[at_];
    if (begins_word(c)) {
      take_word(out);
    } else if (c == '"') {
      out.kind = Token::Kind::quoted_name;
      take_quoted('"', false, &out.text);
    } else {
      out.kind = Token::Kind::other;
      out.text = c;
      if (c == '\'') {
        take_quoted('\'', false, nullptr);
      } else if (c != '$' || !take_dollars()) {
        ++at_;
      }
    }
    out.end = at_;
    return out;
  }

 private:
  void skip_blank() {
    while (at_ < text_.size()) {
      const std::string_view rest = text_.substr(at_);
      if (is_space(rest[0])) {
        ++at_;
      } else if (rest.starts_with("--")) {
        at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
      } else if (rest.starts_with("/*")) {
        skip_comment();
      } else {
        return;
      }
    }
  }

  void skip_comment() {
    int depth = 0;
    while (at_ < text_.size()) {
      const std::string_view two = text_.substr(at_, 2);
      const bool opens = two == "/*";
      const bool closes = two == "*/";
      depth += opens ? 1 : closes ? -1 : 0;
      at_ += opens || closes ? 2 : 1;
      if (depth == 0) return;
    }
  }

  void take_word(Token& out) {
    out.kind = Token::Kind::word;
    while (at_ < text_.size() && within_word(text_[at_])) out.text += lower(text_[at_++]);
    if (out.text == "e" && at_ < text_.size() && text_[at_] == '\'') {
      out.kind = Token::Kind::other;
      take_quoted('\'', true, nullptr);
    }
  }

  void take_quoted(char quote, bool escapes, std::string* into) {
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (escapes && c == '\\') {
        ++at_;
      } else if (c == quote) {
        if (at_ >= text_.size() || text_[at_] != quote) break;
        if (into != nullptr) *into += text_[at_];
        ++at_;
      } else if (into != nullptr) {
        *into += c;
      }
    }
    at_ = std::min(at_, text_.size());
  }

  // $tag$ … $tag$; false: the dollar is only a dollar (of a parameter).
  bool take_dollars() {
    size_t end = at_ + 1;
    if (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') return false;
    while (end < text_.size() && text_[end] != '$' && within_word(text_[end])) ++end;
    if (end >= text_.size() || text_[end] != '$') return false;
    const std::string_view tag = text_.substr(at_, end + 1 - at_);
    const size_t closing = text_.find(tag, end + 1);
    at_ = closing == std::string_view::npos ? text_.size() : closing + tag.size();
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

constexpr std::string_view kElsewhere =
    " at the pooled port: the next transaction may have another server; "
    "use the endpoint's own port";

Refusal not_here(std::string_view what) {
  return {"0A000", std::string(what) + " is not available" + std::string(kElsewhere)};
}

bool locks_for_the_session(std::string_view word) {
  constexpr std::array kFunctions{
      std::string_view("pg_advisory_lock"), std::string_view("pg_advisory_lock_shared"),
      std::string_view("pg_try_advisory_lock"), std::string_view("pg_try_advisory_lock_shared")};
  return std::find(kFunctions.begin(), kFunctions.end(), word) != kFunctions.end();
}

bool contains(std::string_view text, std::string_view lower_word) {
  const auto same = [](char a, char b) { return lower(a) == b; };
  return std::search(text.begin(), text.end(), lower_word.begin(), lower_word.end(), same) !=
         text.end();
}

std::string_view first_word(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size() && is_space(text[begin])) ++begin;
  size_t end = begin;
  while (end < text.size() && within_word(text[end])) ++end;
  return text.substr(begin, end - begin);
}

// Whether one of the words that matter can be where it matters. Most texts are one statement that
// begins with none of them.
bool is_worth_reading(std::string_view text) {
  const std::string_view word = first_word(text);
  if (word.empty()) return true;
  for (const std::string_view mattering : {"listen", "prepare", "declare", "deallocate",
                                           "discard"}) {
    if (word.size() == mattering.size() && contains(word, mattering)) return true;
  }
  const size_t semicolon = text.find(';');
  const bool more = semicolon != std::string_view::npos &&
                    std::any_of(text.begin() + static_cast<std::ptrdiff_t>(semicolon) + 1,
                                text.end(), [](char c) { return !is_space(c) && c != ';'; });
  return more || contains(text, "advisory_lock");
}

class Reading {
 public:
  explicit Reading(std::string_view text) : text_(text), tokens_(text) {}

  PoolSql read() {
    while (true) {
      token_ = tokens_.next();
      if (token_.kind == Token::Kind::end) break;
      if (begins_) take_first();
      if (token_.kind == Token::Kind::word && locks_for_the_session(token_.text)) {
        refuse("a session-level advisory lock (pg_advisory_xact_lock() is)");
      }
      if (token_.kind == Token::Kind::end) break;
      begins_ = token_.kind == Token::Kind::other && token_.text == ";";
      if (declares_ && token_.is("for")) declares_ = false;
      if (declares_ && token_.is("hold") && before_.is("with")) refuse("a cursor WITH HOLD");
      before_ = token_;
    }
    if (copied_ > 0) out_.instead += text_.substr(copied_);
    return std::move(out_);
  }

 private:
  void refuse(std::string_view what) {
    if (out_.refusal.sqlstate.empty()) out_.refusal = not_here(what);
  }

  void take_first() {
    declares_ = token_.is("declare");
    if (token_.is("listen")) {
      refuse("LISTEN");
    } else if (token_.is("prepare")) {
      token_ = tokens_.next();
      if (!token_.is("transaction")) refuse("PREPARE (a driver's own prepared statements are)");
    } else if (token_.is("discard")) {
      token_ = tokens_.next();
      out_.forgets_all = out_.forgets_all || token_.is("all");
    } else if (token_.is("deallocate")) {
      take_deallocate();
    }
  }

  void take_deallocate() {
    token_ = tokens_.next();
    if (token_.is("prepare")) token_ = tokens_.next();
    if (token_.is("all")) {
      out_.forgets_all = true;
    } else if (token_.kind == Token::Kind::word || token_.kind == Token::Kind::quoted_name) {
      out_.forgets.push_back(token_.text);
      out_.instead += text_.substr(copied_, token_.begin - copied_);
      out_.instead += "ALL";
      copied_ = token_.end;
    }
  }

  const std::string_view text_;
  Tokens tokens_;
  Token token_;
  Token before_;
  PoolSql out_;
  size_t copied_ = 0;  // of text_, to out_.instead
  bool begins_ = true;
  bool declares_ = false;
};

}  // namespace

PoolSql look_at(std::string_view text) {
  if (!is_worth_reading(text)) return {};
  return Reading(text).read();
}

}  // namespace trunkline::proxy
