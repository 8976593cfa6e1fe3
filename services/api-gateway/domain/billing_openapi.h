// The document's part about what metering answers. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include "api-gateway/domain/billing.h"

namespace trunkline::gateway {

void put_billing_parameters(const BillingRoute& route, nlohmann::ordered_json* parameters);
// Of 200, 201 and 204.
void put_billing_success(const Route& route, nlohmann::ordered_json* responses);
void put_billing_schemas(nlohmann::ordered_json* schemas);

}  // namespace trunkline::gateway
