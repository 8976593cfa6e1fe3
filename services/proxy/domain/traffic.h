// What a proxy must know of a session that it forwards: where messages begin, what the server has
// still to answer, whether a commit was confirmed that the standbys never confirmed, and what of
// the session's state no server could be asked for. Bytes come as they were read, cut anywhere;
// nothing is kept of them but headers, short notices and the unnamed statement. Pure; one session,
// one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/domain/session_ties.h"

namespace trunkline::proxy {

// Of an unnamed statement; a longer one is bound before its session can be carried.
inline constexpr size_t kMostUnnamed = 256 * 1024;

class Traffic {
 public:
  // False: the bytes are no messages (a length below 4), the session cannot go on.
  bool from_client(std::string_view bytes);

  // How many of `bytes` may reach the client. Fewer than all: what follows would confirm a commit
  // whose wait for its standbys was cancelled (`commit_in_doubt`), or is no message.
  size_t from_server(std::string_view bytes);
  bool commit_in_doubt() const { return in_doubt_; }

  // Between transactions, with nothing on its way in either direction and nothing half said: the
  // server could be another one now.
  bool idle() const;
  char status() const { return status_; }  // of the last ReadyForQuery: I, T or E
  bool client_said_goodbye() const { return goodbye_; }
  bool server_at_boundary() const { return server_.body_left == 0 && server_.have == 0; }
  bool client_at_boundary() const { return client_.body_left == 0 && client_.have == 0; }

  const TieSet& ties() const { return watch_.ties(); }
  // The server was asked, and it is not so.
  void forget_hints();
  // The body of the Parse that made the unnamed statement; empty: there is none.
  const std::string& unnamed() const { return unnamed_; }
  // Which statement the unnamed one is cannot be told (until the next one is made).
  bool unnamed_is_uncertain() const { return uncertain_; }
  // Strings with a backslash can have been read in another way than they would be now.
  bool strings_changed() const { return strings_changed_; }

 private:
  struct Frame {
    uint32_t body_left = 0;  // of the message that is passing
    char header[5] = {};
    uint8_t have = 0;        // bytes of `header`; 0: within a body or at a boundary
    bool first_byte = false; // the body's first byte comes next
    char type = 0;
  };
  enum class Keep : uint8_t { nothing, notice, tag, parameter };

  // Takes header bytes off the front; true when the header is complete.
  static bool take_header(Frame& frame, std::string_view& bytes);
  void begin_client_message();
  void begin_text();
  void take_client_body(std::string_view bytes);
  void begin_server_message();
  void end_kept();

  // What was asked and not answered, in order: S, Q and F (ReadyForQuery comes), before an S its
  // batch: p (Parse of the unnamed statement, at most two are noted), o (another message came
  // first), e (it failed before its end came), and c (a copy's end).
  void ask(char what);
  std::string_view open_batch() const;
  std::string_view asked() const { return std::string_view(asked_).substr(answered_); }
  void answer_ready();
  void answer_copy_in();
  void answer_error();

  Frame client_;
  Frame server_;
  std::string asked_;
  size_t answered_ = 0;            // of asked_, from its beginning
  bool copying_in_ = false;        // the server throws Sync away until the copy ends
  bool copying_ = false;
  bool lost_track_ = false;
  bool uncertain_ = false;
  bool keep_unnamed_ = false;      // the Parse that passes
  bool strings_changed_ = false;
  bool goodbye_ = false;
  bool in_doubt_ = false;
  char status_ = 'I';
  uint8_t texts_ = 0;              // since the server had nothing to answer, as far as 2
  Keep keep_ = Keep::nothing;
  std::string kept_;               // while it passes
  std::string unnamed_;
  TextWatch watch_;
};

}  // namespace trunkline::proxy
