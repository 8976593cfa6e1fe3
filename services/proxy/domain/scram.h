// SCRAM-SHA-256 (RFC 5802, RFC 7677) from both sides of a proxy that knows verifiers only: it
// checks a client's proof, learns the ClientKey from it, and proves itself to the node with it.
// Randomness comes in as arguments. Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trunkline::proxy {

inline constexpr std::string_view kScram = "SCRAM-SHA-256";
inline constexpr std::string_view kScramPlus = "SCRAM-SHA-256-PLUS";

struct Verifier {
  int iterations = 0;
  std::string salt;        // raw
  std::string stored_key;  // raw, 32 bytes
  std::string server_key;  // raw, 32 bytes
};

// RFC 5803 as PostgreSQL writes it; nothing if it is not one.
std::optional<Verifier> parse_verifier(std::string_view text);

// One for a name that has none: always the same salt for it, and no password that fits.
Verifier mock_verifier(std::string_view secret, std::string_view name);

// The server's side towards one client.
class ScramServer {
 public:
  // `channel_binding` is the certificate's hash (tls-server-end-point), or empty without TLS.
  ScramServer(Verifier verifier, std::string nonce, std::string channel_binding);

  enum class Step { go_on, wrong_proof, malformed };
  // `mechanism` and its first message; reply() is then the server's first message.
  Step take_first(std::string_view mechanism, std::string_view text);
  // On go_on the client has proved to know the password; reply() is the server's last message.
  Step take_final(std::string_view text);

  const std::string& reply() const { return reply_; }
  const std::string& client_key() const { return client_key_; }

 private:
  Verifier verifier_;
  std::string nonce_;
  std::string channel_binding_;
  std::string gs2_header_;
  std::string first_bare_;
  std::string server_first_;
  std::string reply_;
  std::string client_key_;
};

// The client's side towards a node.
class ScramClient {
 public:
  ScramClient(std::string client_key, std::string stored_key, std::string server_key,
              std::string nonce);
  std::string first() const;  // to be sent as the initial response
  // The client's last message, or nothing if `server_first` is malformed or for another nonce.
  std::optional<std::string> final(std::string_view server_first);
  // True if the server knows the same verifier.
  bool is_genuine(std::string_view server_final) const;

 private:
  std::string client_key_;
  std::string stored_key_;
  std::string server_key_;
  std::string first_bare_;
  std::string nonce_;
  std::string auth_message_;
};

}  // namespace trunkline::proxy
