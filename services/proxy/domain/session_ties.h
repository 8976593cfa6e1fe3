// What ties a session to its server, as far as the texts that it sends tell: state that no server
// shows (it pins the session), and hints at state that the server is asked for when it matters.
// Words are looked for, not understood; in doubt there is a tie. Pure; one session, one thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace trunkline::proxy {

enum class Tie : uint8_t {
  // Shown by no server.
  own_setting,        // SET app.user, set_config(): only a server with the guard lists them
  random_seed,
  sequence,           // currval() and lastval() are used
  // Hints.
  temporary_object,
  listen,
  advisory_lock,
  held_cursor,
};
inline constexpr size_t kTies = 7;
std::string_view tie_text(Tie tie);  // "a temporary table or the like"

class TieSet {
 public:
  void add(Tie tie) { bits_ |= bit(tie); }
  void remove(Tie tie) { bits_ &= static_cast<uint8_t>(~bit(tie)); }
  bool has(Tie tie) const { return (bits_ & bit(tie)) != 0; }
  bool empty() const { return bits_ == 0; }
  bool operator==(const TieSet&) const = default;

 private:
  static constexpr uint8_t bit(Tie tie) {
    return static_cast<uint8_t>(1u << static_cast<unsigned>(tie));
  }
  uint8_t bits_ = 0;
};

// Reads statements as they pass, cut anywhere.
class TextWatch {
 public:
  void begin();  // of a text
  void take(std::string_view bytes);
  const TieSet& ties() const { return ties_; }
  void add(Tie tie) { ties_.add(tie); }
  void forget(Tie tie) { ties_.remove(tie); }
  void forget_all() { ties_ = {}; }

 private:
  // What came last that gives the next word its meaning.
  enum class Before : uint8_t { nothing, start, makes, with, set, set_name };
  enum class Comment : uint8_t { none, line, block };
  void end_word();
  void take_mark(char c);
  bool pass_comment(char c);

  TieSet ties_;
  Before before_ = Before::start;
  Comment comment_ = Comment::none;
  char mark_ = 0;  // the last character that was no letter, within SET
  uint8_t size_ = 0;
  std::array<char, 28> word_{};
};

}  // namespace trunkline::proxy
