// The OpenAPI 3.0.3 document, made from the route table and the resource table. Pure.
#pragma once

#include <nlohmann/json.hpp>

namespace trunkline::gateway {

nlohmann::ordered_json openapi_document();

// components.schemas of it.
nlohmann::ordered_json openapi_schemas();

}  // namespace trunkline::gateway
