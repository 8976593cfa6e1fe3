#include "base/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <charconv>
#include <stdexcept>

namespace trunkline {
namespace {

constexpr std::string_view kScheme = "SCRAM-SHA-256$";

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

std::string sha256(std::string_view data) {
  // Looking the algorithm up costs more than hashing a short text.
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  if (EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(out.data()), nullptr,
                 algorithm, nullptr) != 1) {
    throw std::runtime_error("SHA-256 failed");
  }
  return out;
}

std::string hmac_sha256(std::string_view key, std::string_view data) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes(data), data.size(),
       reinterpret_cast<unsigned char*>(out.data()), &size);
  return out;
}

std::string hex(std::string_view data) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(data.size() * 2);
  for (unsigned char c : data) {
    out.push_back(kDigits[c >> 4]);
    out.push_back(kDigits[c & 15]);
  }
  return out;
}

std::string base64(std::string_view data) {
  std::string out(4 * ((data.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes(data),
                                   static_cast<int>(data.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

std::optional<std::string> unbase64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  if (text.empty()) return std::string();
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes(text),
                                   static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  out.resize(static_cast<size_t>(size) - padding);
  return out;
}

std::string scram_sha256_verifier(std::string_view password, std::string_view salt,
                                  int iterations) {
  std::string salted(SHA256_DIGEST_LENGTH, '\0');
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), bytes(salt),
                        static_cast<int>(salt.size()), iterations, EVP_sha256(),
                        static_cast<int>(salted.size()),
                        reinterpret_cast<unsigned char*>(salted.data())) != 1) {
    throw std::runtime_error("PBKDF2 failed");
  }
  const std::string stored_key = sha256(hmac_sha256(salted, "Client Key"));
  const std::string server_key = hmac_sha256(salted, "Server Key");
  return std::string(kScheme) + std::to_string(iterations) + ":" + base64(salt) + "$" +
         base64(stored_key) + ":" + base64(server_key);
}

bool is_scram_sha256_verifier(std::string_view text) {
  if (text.size() > kMostVerifierBytes || !text.starts_with(kScheme)) return false;
  const uint32_t iterations = scram_iterations(text);
  if (iterations == 0 || iterations > kMostIterations) return false;
  text.remove_prefix(text.find(':') + 1);
  const size_t dollar = text.find('$');
  if (dollar == std::string_view::npos) return false;
  const auto salt = unbase64(text.substr(0, dollar));
  if (!salt || salt->empty() || salt->size() > kMostSaltBytes) return false;
  const std::string_view keys = text.substr(dollar + 1);
  const size_t colon = keys.find(':');
  if (colon == std::string_view::npos) return false;
  const auto stored = unbase64(keys.substr(0, colon));
  const auto server = unbase64(keys.substr(colon + 1));
  return stored && server && stored->size() == SHA256_DIGEST_LENGTH &&
         server->size() == SHA256_DIGEST_LENGTH;
}

uint32_t scram_iterations(std::string_view verifier) {
  if (!verifier.starts_with(kScheme)) return 0;
  uint32_t iterations = 0;
  const char* end = verifier.data() + verifier.size();
  const auto [behind, error] =
      std::from_chars(verifier.data() + kScheme.size(), end, iterations);
  return error == std::errc() && behind != end && *behind == ':' ? iterations : 0;
}

}  // namespace trunkline
