// Every route of the REST surface, once: what matches a request, what 405 lists, and what the
// OpenAPI document shows. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/resource_schema.h"

namespace trunkline::gateway {

enum class Action {
  create,
  list,
  get,
  update,
  remove,
  history,
  failovers,
  replay,        // of decisions about failovers: see plan.h
  logs,
  alerts,
  audit,
  switchover,    // orders: see order.h
  failover,
  drain,
  declare_lost,
  remove_orphan,
  metrics,       // how instances and hosts fare: see observe.h
  report,
  fleet,
  prometheus,
  billing,       // what metering answers: see billing.h
  admin,      // a word for lookup's administration subject
  health,
  ready,
  openapi,
  docs,
  docs_file,
  usage_schema,
};

enum class Access {
  open,   // no token
  token,  // any token reads, admin and member write
  admin,  // administrators only
};

struct Route {
  std::string_view method;
  // {instance}, {project} and {uuid} take a UUID, any other hole a word. "/v1/postgres/…" also
  // matches as
  // "/v1/types/postgres/…".
  std::string_view pattern;
  Action action;
  Resource resource;
  Access access;
  std::string_view summary;
};

std::span<const Route> all_routes();

struct RouteMatch {
  const Route* route = nullptr;
  std::string instance_id;  // of {instance}
  std::string project_id;   // of {project}
  std::string uuid;         // of {uuid}
  std::string word;         // of {file}, {op} and the like
  std::string path;         // as in the pattern: short base, lower-case UUIDs, no trailing slash
  std::string asked_path;   // the same below the base that was asked for
};

struct RouteFailure {
  Problem problem;
  std::string allow;  // of a 405: "GET, POST"
};

// HEAD is matched as GET. UUIDs in the path are checked here (400).
std::variant<RouteMatch, RouteFailure> match_route(std::string_view method,
                                                   const std::vector<std::string>& segments);

}  // namespace trunkline::gateway
