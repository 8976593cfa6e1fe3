// Price lists and webhooks as the API shows them. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "metering/domain/price_list.h"
#include "metering/domain/webhook.h"

namespace trunkline::metering {

// With the prices of the newest version, or of the one that holds at `at_ms` (0: the newest); empty
// where none holds.
std::string price_list_json(const PriceListState& list, int64_t at_ms);
std::string webhook_json(const WebhookState& webhook);

}  // namespace trunkline::metering
