// The document says what the gateway does: every route, every field, nothing that is not there.
#include "api-gateway/domain/openapi.h"

#include <gtest/gtest.h>

#include <set>

#include "api-gateway/domain/resource_schema.h"
#include "api-gateway/domain/routes.h"

namespace trunkline::gateway {
namespace {

using Json = nlohmann::ordered_json;

void collect_refs(const Json& node, std::set<std::string>* refs) {
  if (node.is_object()) {
    for (const auto& [key, value] : node.items()) {
      if (key == "$ref") refs->insert(value.get<std::string>());
      collect_refs(value, refs);
    }
  } else if (node.is_array()) {
    for (const auto& value : node) collect_refs(value, refs);
  }
}

TEST(OpenApi, EveryReferenceIsThere) {
  const Json document = openapi_document();
  std::set<std::string> refs;
  collect_refs(document, &refs);
  EXPECT_GT(refs.size(), 20u);
  for (const std::string& ref : refs) {
    ASSERT_TRUE(ref.starts_with("#/")) << ref;
    EXPECT_TRUE(document.contains(Json::json_pointer(ref.substr(1)))) << ref;
  }
}

TEST(OpenApi, EveryRouteIsThereAndNoOther) {
  const Json document = openapi_document();
  size_t operations = 0;
  std::set<std::string> ids;
  for (const auto& [path, item] : document["paths"].items()) {
    for (const auto& [method, operation] : item.items()) {
      ++operations;
      EXPECT_TRUE(ids.insert(operation["operationId"]).second) << operation["operationId"];
      EXPECT_TRUE(operation["responses"].is_object());
      // Each hole of the path is described.
      for (size_t open = path.find('{'); open != std::string::npos;
           open = path.find('{', open + 1)) {
        const std::string name = path.substr(open + 1, path.find('}', open) - open - 1);
        bool described = false;
        for (const auto& parameter : operation["parameters"]) {
          described = described || (parameter["name"] == name && parameter["in"] == "path" &&
                                    parameter["required"] == true);
        }
        EXPECT_TRUE(described) << path << " " << name;
      }
    }
  }
  size_t expected = 0;
  for (const Route& route : all_routes()) {
    expected += route.pattern.starts_with("/v1/postgres/") ? 2 : 1;
    const std::string pattern(route.pattern);
    std::string method(route.method);
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    ASSERT_TRUE(document["paths"].contains(pattern)) << pattern;
    EXPECT_TRUE(document["paths"][pattern].contains(method)) << pattern << method;
  }
  EXPECT_EQ(operations, expected);
}

TEST(OpenApi, RangesOfTheContract) {
  const Json schemas = openapi_schemas();
  const Json& create = schemas["InstanceCreate"]["properties"];
  const auto range = [&](const char* field) {
    return std::pair(create[field]["minimum"].get<int>(), create[field]["maximum"].get<int>());
  };
  EXPECT_EQ(range("cpu"), std::pair(1, 128));
  EXPECT_EQ(range("ram"), std::pair(512, 1048576));
  EXPECT_EQ(range("disk_size"), std::pair(8, 1024));
  EXPECT_EQ(range("nodes_number"), std::pair(1, 16));
  EXPECT_EQ(range("sync_replica_number"), std::pair(0, 15));
  EXPECT_FALSE(create.contains("status"));
  EXPECT_EQ(schemas["VersionCreate"]["properties"]["image"]["maxLength"], 63);
  EXPECT_EQ(schemas["UserCreate"]["properties"]["password"]["minLength"], 8);
  EXPECT_EQ(schemas["UserCreate"]["properties"]["password"]["maxLength"], 99);
}

TEST(OpenApi, APasswordIsInNoAnswer) {
  const Json schemas = openapi_schemas();
  EXPECT_FALSE(schemas["User"]["properties"].contains("password"));
  EXPECT_TRUE(schemas["UserCreate"]["properties"]["password"]["writeOnly"]);
}

TEST(OpenApi, ErrorsOfARoute) {
  const Json document = openapi_document();
  const Json& responses = document["paths"]["/v1/postgres/instances"]["post"]["responses"];
  for (const char* code : {"201", "202", "400", "401", "403", "404", "405", "409", "413", "415",
                           "429", "503"}) {
    EXPECT_TRUE(responses.contains(code)) << code;
  }
  EXPECT_FALSE(responses.contains("500"));
  EXPECT_FALSE(responses.contains("422"));
}

}  // namespace
}  // namespace trunkline::gateway
