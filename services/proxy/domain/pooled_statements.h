// The prepared statements of one client of a transaction pool. Its transactions have changing
// servers, so each use of a statement goes behind a Parse of the unnamed one, whose answer is taken
// out of what the client gets. Nothing with a name of a client's ever reaches a server.
//
// Bytes come as they were read, cut anywhere. One flight of messages (up to Sync or a Query) is
// under way at a time: what follows waits until it is answered, so that it is known which
// statements there are. Pure; one session, one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/domain/pool_sql.h"

namespace trunkline::proxy {

// Keeps texts of statements; alike ones of many clients once.
class StatementTexts {
 public:
  using Text = std::shared_ptr<const std::string>;
  virtual ~StatementTexts() = default;
  virtual Text keep(std::string_view text) = 0;  // null: no room
};

struct PooledLimits {
  size_t statements = 2'000;
  size_t bytes = 2 << 20;      // of all texts
  size_t a_message = 256 << 10;  // that is looked at as a whole, and kept
};

class PooledStatements {
 public:
  explicit PooledStatements(StatementTexts& texts, PooledLimits limits = {});

  // Takes from the front of `bytes` what may go on now, and appends to `to_pool` what goes. What it
  // does not take is given again after from_pool(). The number of bytes taken.
  size_t from_client(std::string_view bytes, std::string& to_pool);
  // Appends what the client gets.
  void from_pool(std::string_view bytes, std::string& to_client);

  bool is_broken() const { return broken_; }  // the bytes are no messages
  bool has_ended() const { return ended_; }   // a FATAL error was said: nothing comes after it
  size_t count() const { return statements_.size(); }
  // Another number for each flight, odd while something is to be answered.
  uint64_t flight() const { return flights_ * 2 + (awaited_.empty() ? 0 : 1); }

 private:
  struct Statement {
    StatementTexts::Text text;  // Parse's body behind the name; null: too long to be kept
    size_t bytes = 0;
    uint64_t shape = 0;         // of its rows, as the client was told them; 0: not told
  };
  using StatementPointer = std::shared_ptr<Statement>;

  // What the server is to answer.
  struct Awaited {
    enum class Kind { parse, bind, describe, execute, close, sync, query, copy_end };
    Kind kind = Kind::sync;
    bool swallowed = false;
    uint64_t shape = 0;         // that a describe must show
    StatementPointer described;
    Refusal instead;            // of the error that comes
    size_t undo = SIZE_MAX;     // undo_'s size before it; by itself, as it is when it is awaited
  };
  struct Change {
    std::string name;
    StatementPointer before;
  };
  struct Bound {
    std::string portal;
    StatementPointer statement;
    bool parsed_again = false;
    bool described = false;
  };

  // pooled_statements.cc: what the client says
  bool may_begin(char type) const;
  size_t wanted() const;
  void take_message(std::string& to_pool);
  void take_parse(std::string& to_pool);
  void take_bind(std::string& to_pool);
  void take_describe(std::string& to_pool);
  void take_execute(std::string& to_pool);
  void take_close(std::string& to_pool);
  void take_query(std::string& to_pool);
  void take_other(std::string& to_pool);
  void pass(std::string& to_pool);
  void skip();
  void refuse(Refusal why, std::string& to_pool);
  void forget(const PoolSql& sql);
  void set(const std::string& name, StatementPointer statement);
  Refusal no_room_for(const std::string& name, std::string_view body, StatementPointer* out);
  bool parse_again(const StatementPointer& statement, std::string& to_pool);
  void await(Awaited::Kind kind);
  void await(Awaited::Kind kind, Awaited extra);

  // pooled_answers.cc: what the server says
  void begin_answer(char type);
  void end_answer(std::string& to_client);
  void take_description(std::string& to_client);
  void take_error(std::string& to_client);
  void take_ready(std::string& to_client);
  void begin_copy();
  void pop();
  void undo_to(size_t mark);
  void roll_back();
  bool changes_too_much() const;
  bool waits_for(Awaited::Kind kind) const {
    return !awaited_.empty() && awaited_.front().kind == kind;
  }

  StatementTexts& texts_;
  const PooledLimits limits_;
  std::map<std::string, StatementPointer, std::less<>> statements_;
  size_t bytes_ = 0;
  std::vector<Change> undo_;        // of the flight; not of the unnamed one
  bool unnamed_is_new_ = false;     // it was made in this flight
  std::deque<Awaited> awaited_;
  bool in_flight_ = false;          // Sync or a Query is not answered yet
  uint64_t flights_ = 0;            // that were answered
  bool skipping_ = false;           // the server throws away what comes before Sync
  bool copying_ = false;            // it takes CopyData
  StatementPointer unnamed_;        // what the server has as such
  Bound bound_;

  std::string message_;             // the client's that is being gathered
  uint64_t pass_left_ = 0;
  uint64_t skip_left_ = 0;
  bool broken_ = false;

  enum class Answer { passes, gathered, swallowed };
  std::string header_;
  std::string answer_;              // of the server, gathered
  Answer way_ = Answer::passes;
  uint64_t answer_left_ = 0;
  bool ended_ = false;
};

}  // namespace trunkline::proxy
