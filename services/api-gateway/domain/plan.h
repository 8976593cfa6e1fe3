// What is to be asked of lookup and of the owning service for one authenticated request. The shell
// (io/exchange.h) carries it out; every decision about the request is taken here. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api-gateway/domain/caller.h"
#include "api-gateway/domain/http_message.h"
#include "api-gateway/domain/log_request.h"
#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/routes.h"
#include "api-gateway/domain/strict_json.h"
#include "base/clock.h"
#include "trunkline/v1/envelope.pb.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::gateway {

// A document that must be there before anything else happens, and the answer if it is not.
struct Need {
  v1::Query query;
  Problem missing;
};

struct ReadOne {
  enum class Form { json, prometheus, report_page };
  v1::Query query;
  Problem missing;
  std::vector<std::string> fields;
  Form form = Form::json;  // what the answer is made into
};

struct ReadMany {
  std::vector<Need> needs;
  v1::Query query;
  Problem missing;
  std::vector<std::string> fields;
  std::string wrap;    // {"versions": [...]}; empty: a bare array
  uint32_t limit = 0;
  enum class Shape {
    list,
    invoice,  // one object: the first document, with the others in its lists
  };
  Shape shape = Shape::list;
  std::vector<std::string> csv_columns;  // not empty: answered as CSV
};

// The SCRAM verifier of a password. `seed` not empty: the salt comes from it, so that the same
// request makes the same command.
using MakeVerifier = std::function<std::string(const std::string& password,
                                               const std::string& seed)>;

// The log of a node; its instance must be there.
struct ReadLog {
  std::vector<Need> needs;
  LogWish wish;
};

struct Write {
  std::string command_id;
  bool repeatable = false;  // has an Idempotency-Key: its operation may already be done
  bool slow = false;        // build() derives a key from a password: milliseconds of work
  std::vector<Need> needs;
  // The command's body, from the needed documents in their order.
  std::function<Outcome<v1::Command>(const std::vector<json>& found, const MakeVerifier&)> build;
  std::optional<v1::Query> read_back;  // nothing: answered without a body
  int success = 200;
  std::string location;  // of what was created
  json extra;            // fields that only this answer shows
  // The same, from the document that is answered.
  std::function<json(const json& document)> extra_of;
};

using Plan = std::variant<ReadOne, ReadMany, ReadLog, Write>;

// What a plan may not make itself.
struct Fresh {
  TimePoint now;
  std::string uuid;          // for a command without Idempotency-Key
  std::string token_secret;  // for a new token: 32 random bytes
  std::string webhook_master;  // empty: webhooks are not set up
};

Outcome<Plan> make_plan(const RouteMatch& match, const HttpRequest& request, const Caller& caller,
                        const Fresh& fresh);

// Who answers a query.
enum class Answerer { lookup, metering, replication };
Answerer answerer_of(const v1::Query& query);

// "not_found" of the resource that the path names.
Problem missing_resource(Resource resource, const std::string& uuid);

}  // namespace trunkline::gateway
