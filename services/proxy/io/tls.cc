#include "proxy/io/tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdexcept>

namespace trunkline::proxy {
namespace {

constexpr unsigned char kProtocol[] = "\x0apostgresql";  // ALPN, with its length

TlsContext context_of(const SSL_METHOD* method) {
  TlsContext context(SSL_CTX_new(method));
  if (!context) throw std::runtime_error("TLS is not available");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context.get(),
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                          SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE);
  return context;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                    unsigned in_size, void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, size, kProtocol, sizeof kProtocol - 1, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

void show_certificate(SSL_CTX* context, const std::string& certificate_file,
                      const std::string& key_file) {
  if (SSL_CTX_use_certificate_chain_file(context, certificate_file.c_str()) != 1) {
    throw std::runtime_error(certificate_file + ": no certificate");
  }
  if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    throw std::runtime_error(key_file + ": not the key of " + certificate_file);
  }
}

}  // namespace

TlsContext server_context(const std::string& certificate_file, const std::string& key_file) {
  TlsContext context = context_of(TLS_server_method());
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(context.get(), &choose_protocol, nullptr);
  show_certificate(context.get(), certificate_file, key_file);
  return context;
}

TlsContext client_context(const std::string& ca_file, const std::string& certificate_file,
                          const std::string& key_file) {
  TlsContext context = context_of(TLS_client_method());
  if (SSL_CTX_load_verify_locations(context.get(), ca_file.c_str(), nullptr) != 1) {
    throw std::runtime_error(ca_file + ": no certificate");
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (!certificate_file.empty()) show_certificate(context.get(), certificate_file, key_file);
  return context;
}

std::string certificate_hash(SSL_CTX* context) {
  X509* certificate = SSL_CTX_get0_certificate(context);
  int digest = NID_undef;
  OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &digest, nullptr);
  const bool weak = digest == NID_undef || digest == NID_md5 || digest == NID_sha1;
  const EVP_MD* algorithm = weak ? EVP_sha256() : EVP_get_digestbynid(digest);
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (algorithm == nullptr || X509_digest(certificate, algorithm, hash, &size) != 1) return {};
  return std::string(reinterpret_cast<char*>(hash), size);
}

SSL* accept_session(SSL_CTX* context, int fd) {
  SSL* tls = SSL_new(context);
  if (tls == nullptr) throw std::runtime_error("TLS session: out of memory");
  SSL_set_fd(tls, fd);
  SSL_set_accept_state(tls);
  return tls;
}

SSL* connect_session(SSL_CTX* context, int fd, const std::string& address) {
  SSL* tls = SSL_new(context);
  if (tls == nullptr) throw std::runtime_error("TLS session: out of memory");
  SSL_set_fd(tls, fd);
  SSL_set_connect_state(tls);
  X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), address.c_str());
  return tls;
}

}  // namespace trunkline::proxy
