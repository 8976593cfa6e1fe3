// The key that a webhook's messages are signed with. It is stored nowhere: it follows from the
// platform's webhook master secret. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trunkline {

// 32 raw bytes. `number` counts the webhook's keys from 1.
std::string webhook_key(std::string_view master_secret, std::string_view webhook_id,
                        uint32_t number);
// As Standard Webhooks shows a key to the receiver: "whsec_<base64>".
std::string webhook_key_text(std::string_view key);
// Of one delivery, in the same way: "v1,<base64>". `timestamp` in seconds.
std::string webhook_signature(std::string_view key, std::string_view message_id, int64_t timestamp,
                              std::string_view body);

}  // namespace trunkline
