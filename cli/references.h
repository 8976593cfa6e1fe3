// Names given by people, as the references and queries that the API wants.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/api_client.h"

namespace trunkline::cli {

// "/v1/types/postgres/versions/<uuid>" of a version's name or UUID; "" means the only one that is
// offered. Throws Failure(usage) naming the offered ones if that is not clear.
std::string version_reference(ApiClient& api, const std::string& name_or_uuid);
// Of a user of the instance.
std::string user_reference(ApiClient& api, const std::string& instance_id,
                           const std::string& name_or_uuid);

struct ListOptions {
  std::vector<std::string> filters;  // "field=value"
  std::string sort_key;
  bool descending = false;
  size_t limit = 0;
};
// --filter, --sort, --desc and -n.
void add_list_options(CLI::App& command, ListOptions& options);
// Throws Failure(usage) for a filter without "=".
Query query_of(const ListOptions& options);

}  // namespace trunkline::cli
