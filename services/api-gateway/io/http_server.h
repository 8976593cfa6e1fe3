// The HTTP server on Pistache, seen without Pistache (its headers stay in pistache_adapter.cc).
// Requests of one connection are handled one after another; each is answered once through its
// Reply, from any thread, sooner or later, also when the client has gone.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api-gateway/domain/http_message.h"
#include "api-gateway/domain/request_parser.h"

namespace trunkline::gateway {

struct HttpServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free one, see HttpServer::port()
  int threads = 2;
  size_t connections = 4096;              // more are answered 503 and closed
  size_t connections_per_address = 1024;  // more are answered 429 and closed
  std::vector<std::string> shared_addresses;  // of what many clients come through: no such limit
  size_t unread_response_bytes = 64 << 20;  // of all clients together; above, the slow are dropped
  // Of requests that have not come whole: of all clients, and of one address.
  size_t unread_request_bytes = 64 << 20;
  size_t unread_request_bytes_per_address = 16 << 20;
  std::chrono::milliseconds keepalive{5'000};
  std::chrono::milliseconds head_timeout{10'000};
  std::chrono::milliseconds body_timeout{15'000};
  std::chrono::milliseconds write_timeout{10'000};
  RequestLimits limits;
};

class Reply {
 public:
  using Trailers = std::vector<std::pair<std::string, std::string>>;
  // Called once, from any thread; a second call is ignored. A Reply that is dropped unanswered
  // answers 503.
  virtual void send(HttpResponse response) = 0;
  // Or a body that comes in pieces: begin() once, push() when ready() says that the piece before
  // has left, end() at last. Nothing comes of a piece when gone() says that the client has gone.
  virtual void begin(HttpResponse head) = 0;
  virtual bool ready() const = 0;
  virtual bool gone() const = 0;
  virtual void push(std::string piece) = 0;  // not empty
  // `trailers`: fields behind the body, for clients that know chunks.
  virtual void end(Trailers trailers) = 0;
  void end() { end({}); }
  // False: the client has gone, so nobody reads an answer, whatever its work costs.
  virtual bool wanted() const { return true; }
  virtual ~Reply() = default;
};

// Replies that are sent on this thread while it lives reach the server's threads together, when it
// ends: waking them for each one costs more than the replies. Nests.
class ReplyBatch {
 public:
  ReplyBatch();
  ~ReplyBatch();
  ReplyBatch(const ReplyBatch&) = delete;
  ReplyBatch& operator=(const ReplyBatch&) = delete;
};

// Runs on a server thread and must not block. May throw: the request is then answered 503.
using RequestHandler = std::function<void(HttpRequest&&, std::shared_ptr<Reply>)>;

// Asked once about a request whose body has not come, before it is waited for (and before
// "100 Continue"). Calls `verdict` once, from any thread, perhaps within the call: nothing to go
// on, or the answer, after which the connection ends. Runs on a server thread and must not block.
using AdmissionVerdict = std::function<void(std::optional<HttpResponse>)>;
using Admission = std::function<void(const HttpRequest& head, AdmissionVerdict verdict)>;

class HttpServer {
 public:
  // Listens and serves. Without `admission` every body is waited for. Throws std::runtime_error
  // with what is wrong.
  static std::unique_ptr<HttpServer> start(const HttpServerOptions& options,
                                           RequestHandler handler, Admission admission = {});
  // Closes all connections and joins its threads; replies sent later go nowhere.
  virtual ~HttpServer() = default;
  virtual uint16_t port() const = 0;

  struct Figures {
    uint64_t accepted = 0;    // connections since the start
    uint64_t refused = 0;     // because there were too many
    uint64_t dropped = 0;     // did not read their responses
    size_t connections = 0;   // now
    size_t unread_bytes = 0;  // now
    size_t request_bytes = 0;  // of requests that have not come whole
  };
  virtual Figures figures() const = 0;
};

}  // namespace trunkline::gateway
