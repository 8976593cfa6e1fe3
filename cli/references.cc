#include "cli/references.h"

#include "cli/exit_code.h"
#include "cli/session.h"

namespace trunkline::cli {
namespace {

const std::string kReference = "/v1/types/postgres/";

}  // namespace

std::string version_reference(ApiClient& api, const std::string& name_or_uuid) {
  const std::string collection = kResources + "versions";
  if (!name_or_uuid.empty()) {
    return kReference + "versions/" + resolve(api, collection, name_or_uuid, "version");
  }
  const std::vector<Json> offered = api.list(collection);
  if (offered.size() == 1) return kReference + "versions/" + text_of(offered[0], "uuid");
  std::string message = offered.empty() ? "no version is offered" : "say --version, one of:";
  for (const Json& version : offered) message += " " + printable(text_of(version, "name"));
  throw Failure(ExitCode::usage, message);
}

std::string user_reference(ApiClient& api, const std::string& instance_id,
                           const std::string& name_or_uuid) {
  const std::string users = "instances/" + instance_id + "/users";
  return kReference + users + "/" + resolve(api, kResources + users, name_or_uuid, "user");
}

void add_list_options(CLI::App& command, ListOptions& options) {
  command
      .add_option("--filter", options.filters,
                  "only these; repeated: any of a field, all of several (default: all)")
      ->type_name("FIELD=VALUE");
  command.add_option("--sort", options.sort_key, "field to sort by (default: created_at)")
      ->type_name("FIELD");
  command.add_flag("--desc", options.descending, "largest or newest first");
  command.add_option("-n", options.limit, "only the first N (default: all)")->type_name("N");
}

Query query_of(const ListOptions& options) {
  Query query;
  for (const std::string& filter : options.filters) {
    const size_t equals = filter.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw Failure(ExitCode::usage, "--filter wants FIELD=VALUE, not " + printable(filter));
    }
    query.emplace_back(filter.substr(0, equals), filter.substr(equals + 1));
  }
  if (!options.sort_key.empty()) query.emplace_back("sort_key", options.sort_key);
  if (options.descending) query.emplace_back("sort_dir", "desc");
  return query;
}

}  // namespace trunkline::cli
