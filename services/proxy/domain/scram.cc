#include "proxy/domain/scram.h"

#include <charconv>

#include "base/digest.h"

namespace trunkline::proxy {
namespace {

constexpr int kIterations = 4096;  // those of every verifier that the platform makes
constexpr size_t kKeySize = 32;

// Takes as long whatever differs.
bool same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::string exclusive_or(std::string_view a, std::string_view b) {
  std::string out(a);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(out[i] ^ b[i]);
  return out;
}

// "x=value" at the front of `text`, up to a comma or the end; taken off together with the comma.
std::optional<std::string_view> take_attribute(std::string_view& text, char name) {
  if (text.size() < 2 || text[0] != name || text[1] != '=') return std::nullopt;
  const size_t end = text.find(',');
  const std::string_view value = text.substr(2, end == std::string_view::npos ? end : end - 2);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return value;
}

bool is_printable(std::string_view text) {
  for (const char c : text) {
    if (c < 0x21 || c > 0x7e || c == ',') return false;
  }
  return !text.empty();
}

}  // namespace

std::optional<Verifier> parse_verifier(std::string_view text) {
  if (!is_scram_sha256_verifier(text)) return std::nullopt;
  text.remove_prefix(kScram.size() + 1);
  Verifier out;
  const size_t colon = text.find(':');
  std::from_chars(text.data(), text.data() + colon, out.iterations);
  text.remove_prefix(colon + 1);
  const size_t dollar = text.find('$');
  out.salt = *unbase64(text.substr(0, dollar));
  text.remove_prefix(dollar + 1);
  const size_t second = text.find(':');
  out.stored_key = *unbase64(text.substr(0, second));
  out.server_key = *unbase64(text.substr(second + 1));
  return out;
}

Verifier mock_verifier(std::string_view secret, std::string_view name) {
  Verifier out;
  out.iterations = kIterations;
  out.salt = hmac_sha256(secret, "salt " + std::string(name)).substr(0, 16);
  // No key has this hash, as far as anybody can find out.
  out.stored_key = hmac_sha256(secret, "stored " + std::string(name));
  out.server_key = hmac_sha256(secret, "server " + std::string(name));
  return out;
}

ScramServer::ScramServer(Verifier verifier, std::string nonce, std::string channel_binding)
    : verifier_(std::move(verifier)),
      nonce_(std::move(nonce)),
      channel_binding_(std::move(channel_binding)) {}

ScramServer::Step ScramServer::take_first(std::string_view mechanism, std::string_view text) {
  const bool plus = mechanism == kScramPlus;
  if (!plus && mechanism != kScram) return Step::malformed;
  if (plus && channel_binding_.empty()) return Step::malformed;
  const size_t comma = text.find(',');
  if (comma == std::string_view::npos) return Step::malformed;
  const std::string_view flag = text.substr(0, comma);
  if (plus ? flag != "p=tls-server-end-point" : flag != "n" && flag != "y") return Step::malformed;
  // A client that could bind but was made to believe that we cannot: somebody is between us.
  if (flag == "y" && !channel_binding_.empty()) return Step::malformed;
  const size_t second = text.find(',', comma + 1);
  if (second != comma + 1) return Step::malformed;  // an authorization identity is not supported
  gs2_header_ = text.substr(0, second + 1);
  if (!plus) channel_binding_.clear();
  text.remove_prefix(second + 1);
  first_bare_ = text;
  if (!take_attribute(text, 'n')) return Step::malformed;  // the start-up packet's name counts
  const auto client_nonce = take_attribute(text, 'r');
  if (!client_nonce || !is_printable(*client_nonce)) return Step::malformed;
  nonce_ = std::string(*client_nonce) + nonce_;
  server_first_ = "r=" + nonce_ + ",s=" + base64(verifier_.salt) +
                  ",i=" + std::to_string(verifier_.iterations);
  reply_ = server_first_;
  return Step::go_on;
}

ScramServer::Step ScramServer::take_final(std::string_view text) {
  const std::string_view whole = text;
  const auto binding = take_attribute(text, 'c');
  const auto nonce = take_attribute(text, 'r');
  if (!binding || !nonce || *nonce != nonce_) return Step::malformed;
  if (*binding != base64(gs2_header_ + channel_binding_)) return Step::malformed;
  const size_t proof_at = whole.rfind(",p=");
  if (proof_at == std::string_view::npos) return Step::malformed;
  const auto proof = unbase64(whole.substr(proof_at + 3));
  if (!proof || proof->size() != kKeySize) return Step::malformed;
  const std::string signed_text =
      first_bare_ + "," + server_first_ + "," + std::string(whole.substr(0, proof_at));
  std::string key = exclusive_or(*proof, hmac_sha256(verifier_.stored_key, signed_text));
  if (!same_secret(sha256(key), verifier_.stored_key)) return Step::wrong_proof;
  client_key_ = std::move(key);
  reply_ = "v=" + base64(hmac_sha256(verifier_.server_key, signed_text));
  return Step::go_on;
}

ScramClient::ScramClient(std::string client_key, std::string stored_key, std::string server_key,
                         std::string nonce)
    : client_key_(std::move(client_key)),
      stored_key_(std::move(stored_key)),
      server_key_(std::move(server_key)),
      first_bare_("n=,r=" + nonce),
      nonce_(std::move(nonce)) {}

std::string ScramClient::first() const { return "n,," + first_bare_; }

std::optional<std::string> ScramClient::final(std::string_view server_first) {
  std::string_view text = server_first;
  const auto nonce = take_attribute(text, 'r');
  if (!nonce || nonce->size() <= nonce_.size() || !nonce->starts_with(nonce_)) return std::nullopt;
  if (!take_attribute(text, 's') || !take_attribute(text, 'i')) return std::nullopt;
  const std::string without_proof = "c=biws,r=" + std::string(*nonce);
  auth_message_ = first_bare_ + "," + std::string(server_first) + "," + without_proof;
  const std::string proof = exclusive_or(client_key_, hmac_sha256(stored_key_, auth_message_));
  return without_proof + ",p=" + base64(proof);
}

bool ScramClient::is_genuine(std::string_view server_final) const {
  const auto signature = take_attribute(server_final, 'v');
  return signature && !auth_message_.empty() &&
         same_secret(*signature, base64(hmac_sha256(server_key_, auth_message_)));
}

}  // namespace trunkline::proxy
