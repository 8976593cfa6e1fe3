// TLS contexts of the proxy, thread-safe once made. Throw std::runtime_error with what is wrong.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace trunkline::proxy {

struct FreeContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using TlsContext = std::unique_ptr<SSL_CTX, FreeContext>;

// For clients; PEM files.
TlsContext server_context(const std::string& certificate_file, const std::string& key_file);
// For nodes: their certificate must be of this CA. Shows them a certificate, if one is named.
TlsContext client_context(const std::string& ca_file, const std::string& certificate_file = "",
                          const std::string& key_file = "");

// The hash of the server's certificate for the channel binding tls-server-end-point (RFC 5929).
std::string certificate_hash(SSL_CTX* context);

// A session on `fd` towards a client, or towards the node that `address` names.
SSL* accept_session(SSL_CTX* context, int fd);
SSL* connect_session(SSL_CTX* context, int fd, const std::string& address);

}  // namespace trunkline::proxy
