#include "proxy/domain/session_ties.h"

namespace trunkline::proxy {
namespace {

constexpr std::array<char, 256> lower_word_characters() {
  std::array<char, 256> out{};
  for (int c = 'a'; c <= 'z'; ++c) out[c] = out[c - 32] = static_cast<char>(c);
  for (int c = '0'; c <= '9'; ++c) out[c] = static_cast<char>(c);
  for (int c = 128; c < 256; ++c) out[c] = static_cast<char>(c);
  out['_'] = '_';
  out['$'] = '$';
  return out;
}
constexpr std::array<char, 256> kLower = lower_word_characters();  // 0: not of a word

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_advisory(std::string_view word) {
  return word == "pg_advisory_lock" || word == "pg_advisory_lock_shared" ||
         word == "pg_try_advisory_lock" || word == "pg_try_advisory_lock_shared";
}

bool makes(std::string_view word) {
  return word == "create" || word == "replace" || word == "local" || word == "global" ||
         word == "into";
}

}  // namespace

std::string_view tie_text(Tie tie) {
  switch (tie) {
    case Tie::own_setting: return "a setting with a prefix of its own";
    case Tie::random_seed: return "setseed()";
    case Tie::sequence: return "currval() or lastval()";
    case Tie::temporary_object: return "a temporary table or the like";
    case Tie::listen: return "LISTEN";
    case Tie::advisory_lock: return "an advisory lock";
    case Tie::held_cursor: return "a cursor WITH HOLD";
  }
  return {};
}

void TextWatch::begin() {
  before_ = Before::start;
  comment_ = Comment::none;
  size_ = 0;
  mark_ = 0;
}

void TextWatch::take(std::string_view bytes) {
  for (const char c : bytes) {
    if (comment_ != Comment::none && pass_comment(c)) continue;
    const char lower = kLower[static_cast<unsigned char>(c)];
    if (lower != 0) {
      if (size_ < word_.size()) word_[size_] = lower;
      if (size_ <= word_.size()) ++size_;
      continue;
    }
    if (size_ > 0) end_word();
    take_mark(c);
  }
}

// Only looked for behind SET, where a comment could hide a name.
bool TextWatch::pass_comment(char c) {
  const bool ends = comment_ == Comment::line ? c == '\n' || c == '\r' || c == '\0'
                                              : (mark_ == '*' && c == '/') || c == '\0';
  mark_ = c;
  if (ends) {
    comment_ = Comment::none;
    mark_ = 0;
  }
  return c != '\0';
}

void TextWatch::take_mark(char c) {
  if (c == ';' || c == '\0') {
    before_ = Before::start;
    return;
  }
  if (is_space(c) || c == '"') return;
  if (before_ == Before::set || before_ == Before::set_name) {
    const char last = mark_;
    mark_ = c;
    if (last == '/' && c == '*') {
      comment_ = Comment::block;
      mark_ = 0;
      return;
    }
    if (last == '-' && c == '-') {
      comment_ = Comment::line;
      return;
    }
    if (c == '/' || c == '-') return;
    if (before_ == Before::set_name && c == '.') ties_.add(Tie::own_setting);
  }
  before_ = Before::nothing;
}

void TextWatch::end_word() {
  const Before before = before_;
  const size_t size = size_;
  before_ = Before::nothing;
  size_ = 0;
  mark_ = 0;
  if (size > word_.size()) {
    if (before == Before::set) before_ = Before::set_name;
    return;
  }
  const std::string_view word(word_.data(), size);
  if (before == Before::set) {
    if (word == "seed") ties_.add(Tie::random_seed);
    before_ = word == "session" ? Before::set : Before::set_name;
    if (word == "local") before_ = Before::nothing;
    return;
  }
  switch (word[0]) {
    case 's':
      if (word == "set") before_ = Before::set;
      if (word == "set_config") ties_.add(Tie::own_setting);
      if (word == "setseed") ties_.add(Tie::random_seed);
      return;
    case 'l':
      if (word == "lastval") ties_.add(Tie::sequence);
      if (word == "listen" && before == Before::start) ties_.add(Tie::listen);
      break;
    case 't':
      if ((word == "temp" || word == "temporary") && before == Before::makes) {
        ties_.add(Tie::temporary_object);
      }
      return;
    case 'h':
      if (word == "hold" && before == Before::with) ties_.add(Tie::held_cursor);
      return;
    case 'p':
      if (is_advisory(word)) ties_.add(Tie::advisory_lock);
      return;
    case 'w':
      if (word == "with") before_ = Before::with;
      return;
    case 'c':
      if (word == "currval") ties_.add(Tie::sequence);
      break;
    default:
      break;
  }
  if (makes(word)) before_ = Before::makes;
}

}  // namespace trunkline::proxy
