#include "agent/io/node_certificate.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <stdexcept>

#include "base/digest.h"

namespace trunkline::agent {
namespace {

constexpr long kDay = 24 * 3600;
constexpr long kLasts = 730 * kDay;
constexpr long kRenewBefore = 180 * kDay;
constexpr long kClockSkew = kDay;

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* what) const {
    Free(what);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;

void must(bool fine, const char* what) {
  if (!fine) throw std::runtime_error(std::string("certificate of a node: ") + what);
}

Bio reader(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Certificate read_certificate(const std::string& text) {
  const Bio in = reader(text);
  return Certificate(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
}

Key read_key(const std::string& text) {
  const Bio in = reader(text);
  return Key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
}

std::string written(BIO* out) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string read_or_fail(const std::string& path) {
  auto text = read_file(path);
  if (!text) throw std::runtime_error(path + " is missing");
  return *text;
}

void extend(X509* certificate, X509* issuer, int what, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str()));
  must(extension && X509_add_ext(certificate, extension.get(), -1) == 1, "an extension");
}

void name_part(X509_NAME* name, const char* field, const std::string& value) {
  must(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                  reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1,
                                  0) == 1,
       "its name");
}

// By the host's name for peers, by the address for proxies.
std::string names_of(const NodeCertificateOrder& order) {
  return "DNS:" + order.host + ",DNS:" + order.node_id + "." + order.host + ",IP:" + order.address;
}

Certificate make(const NodeCertificateOrder& order, EVP_PKEY* key, X509* issuer,
                 EVP_PKEY* issuer_key) {
  Certificate out(X509_new());
  unsigned char serial[16];
  must(out && RAND_bytes(serial, sizeof serial) == 1, "no memory");
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial, sizeof serial, nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(out.get()));
  BN_free(number);
  must(X509_set_version(out.get(), X509_VERSION_3) == 1, "its version");
  X509_gmtime_adj(X509_getm_notBefore(out.get()), -kClockSkew);
  X509_gmtime_adj(X509_getm_notAfter(out.get()), kLasts);
  if (ASN1_TIME_compare(X509_get0_notAfter(out.get()), X509_get0_notAfter(issuer)) > 0) {
    must(X509_set1_notAfter(out.get(), X509_get0_notAfter(issuer)) == 1, "its end");
  }
  name_part(X509_get_subject_name(out.get()), "OU", order.host);
  name_part(X509_get_subject_name(out.get()), "CN", order.node_id);
  must(X509_set_issuer_name(out.get(), X509_get_subject_name(issuer)) == 1 &&
           X509_set_pubkey(out.get(), key) == 1,
       "its key");
  extend(out.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
  extend(out.get(), issuer, NID_key_usage, "critical,digitalSignature");
  extend(out.get(), issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  extend(out.get(), issuer, NID_subject_alt_name, names_of(order));
  must(X509_sign(out.get(), issuer_key, EVP_sha256()) > 0, "not signed");
  return out;
}

bool lasts(const X509* certificate, const X509* issuer) {
  const ASN1_TIME* end = X509_get0_notAfter(certificate);
  int days = 0;
  int seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, nullptr, end) != 1) return false;
  // One that ends with its issuer would not last longer if it were made again.
  return days * kDay > kRenewBefore ||
         (days >= 0 && ASN1_TIME_compare(end, X509_get0_notAfter(issuer)) == 0);
}

bool fits(const NodeCertificateOrder& order, const std::string& chain, const std::string& key_text,
          X509* issuer, EVP_PKEY* issuer_key) {
  const Certificate found = read_certificate(chain);
  const Key key = read_key(key_text);
  if (!found || !key || X509_check_private_key(found.get(), key.get()) != 1) return false;
  return X509_verify(found.get(), issuer_key) == 1 &&
         X509_check_ip_asc(found.get(), order.address.c_str(), 0) == 1 &&
         X509_check_host(found.get(), order.host.c_str(), 0, 0, nullptr) == 1 &&
         lasts(found.get(), issuer);
}

}  // namespace

std::string ensure_node_certificate(const NodeCertificateOrder& order, const NodeUser& user) {
  const std::string ca = read_or_fail(order.issuer_dir + "/ca.crt");
  const std::string issuer_text = read_or_fail(order.issuer_dir + "/issuer.crt");
  const Certificate issuer = read_certificate(issuer_text);
  const Key issuer_key = read_key(read_or_fail(order.issuer_dir + "/issuer.key"));
  must(issuer && issuer_key && X509_check_private_key(issuer.get(), issuer_key.get()) == 1,
       "issuer.crt and issuer.key do not fit");
  const std::string tls = order.node_dir + "/tls";
  const AsNodeUser rights(user);
  make_directory(tls, 0700);
  const std::string chain = read_file(tls + "/node.crt").value_or("");
  const std::string key_text = read_file(tls + "/node.key").value_or("");
  const bool same_ca = read_file(tls + "/ca.crt").value_or("") == ca;
  if (same_ca && chain.ends_with(issuer_text) &&
      fits(order, chain, key_text, issuer.get(), issuer_key.get())) {
    return hex(sha256(chain));
  }
  const Key key(EVP_EC_gen("P-256"));
  must(key != nullptr, "no key");
  const Certificate made = make(order, key.get(), issuer.get(), issuer_key.get());
  const Bio out(BIO_new(BIO_s_mem()));
  const Bio key_out(BIO_new(BIO_s_secmem()));
  must(PEM_write_bio_X509(out.get(), made.get()) == 1 &&
           PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                    nullptr) == 1,
       "not written");
  const std::string fresh = written(out.get()) + issuer_text;
  // What a crash leaves of them does not fit together, and is made anew.
  write_file_atomically(tls + "/node.key", written(key_out.get()), 0600, false);
  write_file_atomically(tls + "/node.crt", fresh, 0600, false);
  write_file_atomically(tls + "/ca.crt", ca, 0600, false);
  return hex(sha256(fresh));
}

}  // namespace trunkline::agent
