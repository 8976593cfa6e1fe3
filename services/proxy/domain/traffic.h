// What a proxy must know of a session that it forwards: where messages begin, what the server has
// still to answer, and whether a commit was confirmed that the standbys never confirmed. Bytes come
// as they were read, cut anywhere; nothing is kept of them but headers and short notices. Pure; one
// session, one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trunkline::proxy {

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
  // A statement went by that sets what no server tells of (see own_settings.h).
  bool has_own_settings() const { return own_settings_; }
  bool client_said_goodbye() const { return goodbye_; }
  bool server_at_boundary() const { return server_.body_left == 0 && server_.have == 0; }
  bool client_at_boundary() const { return client_.body_left == 0 && client_.have == 0; }

 private:
  struct Frame {
    uint32_t body_left = 0;  // of the message that is passing
    char header[5] = {};
    uint8_t have = 0;        // bytes of `header`; 0: within a body or at a boundary
    bool first_byte = false; // the body's first byte comes next
    char type = 0;
  };
  // Takes header bytes off the front; true when the header is complete.
  static bool take_header(Frame& frame, std::string_view& bytes);
  void begin_client_message();
  void begin_server_message();
  void end_notice();

  Frame client_;
  Frame server_;
  uint32_t unanswered_ = 0;        // messages sent that are answered by ReadyForQuery
  char last_asked_ = 0;            // type of the newest of them
  bool unsynced_ = false;          // extended messages went after it
  bool unnamed_waits_ = false;     // an unnamed statement was parsed and not bound yet
  bool copying_ = false;
  bool own_settings_ = false;
  bool goodbye_ = false;
  bool in_doubt_ = false;
  char status_ = 'I';
  bool keep_notice_ = false;
  std::string notice_;             // while one passes
};

}  // namespace trunkline::proxy
