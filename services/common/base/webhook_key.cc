#include "base/webhook_key.h"

#include "base/digest.h"

namespace trunkline {

std::string webhook_key(std::string_view master_secret, std::string_view webhook_id,
                        uint32_t number) {
  return hmac_sha256(master_secret, std::string(webhook_id) + "/" + std::to_string(number));
}

std::string webhook_key_text(std::string_view key) { return "whsec_" + base64(key); }

std::string webhook_signature(std::string_view key, std::string_view message_id, int64_t timestamp,
                              std::string_view body) {
  std::string signed_text(message_id);
  signed_text.append(".").append(std::to_string(timestamp)).append(".").append(body);
  return "v1," + base64(hmac_sha256(key, signed_text));
}

}  // namespace trunkline
