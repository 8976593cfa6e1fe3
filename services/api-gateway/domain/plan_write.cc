#include "api-gateway/domain/plan_write.h"

#include <algorithm>

#include "api-gateway/domain/command_fields.h"
#include "api-gateway/domain/validate.h"
#include "base/digest.h"
#include "base/ids.h"

namespace trunkline::gateway {
namespace {

bool is_part_of_instance(Resource resource) {
  return resource == Resource::user || resource == Resource::database;
}

// The id under which the owning service keeps the stream.
std::string aggregate_of(const RouteMatch& match, const std::string& resource_id) {
  return is_part_of_instance(match.route->resource) ? match.instance_id : resource_id;
}

Problem foreign_project() {
  return Problem{403, "forbidden", "project_id must be the token's own project"};
}

// A part belongs to the project of its instance; `instance` must be the path's.
std::optional<Problem> check_belonging(const FieldValues& values, const Caller& caller,
                                       const std::string& instance_id, const json& instance) {
  const auto* project = value_of<std::string>(values, "project_id");
  if (project != nullptr && *project != instance.value("project_id", std::string())) {
    if (caller.role != CallerRole::admin) return foreign_project();
    return bad_request("bad_value", "project_id must be that of the instance, or be left out");
  }
  const auto* reference = value_of<Reference>(values, "instance");
  if (reference != nullptr && reference->uuid != instance_id) {
    return bad_request("bad_value", "instance must be that of the path, or be left out");
  }
  return std::nullopt;
}

Outcome<v1::Command> build_command(Resource resource, Verb verb, const std::string& id,
                                   FieldValues values, const std::string& salt_seed,
                                   const MakeVerifier& make_verifier) {
  if (const auto* password = value_of<std::string>(values, "password")) {
    values["password"] = make_verifier(*password, salt_seed);
  }
  v1::Command command;
  fill_command(resource, verb, id, values, &command);
  return command;
}

// The document that a reference of the body points at; 404 if it is not there.
Need reference_need(const Field& field, const Reference& reference, const Caller& caller) {
  Need out = need(field.refers_to, reference.uuid, reference.instance_id, caller);
  out.missing = Problem{404, "reference_not_found",
                        std::string(field.name) + " refers to a " +
                            std::string(info(field.refers_to).singular) + " that is not there"};
  return out;
}

std::optional<Problem> check_owner(const FieldValues& values, const std::string& instance_id) {
  const auto* owner = value_of<Reference>(values, "owner");
  if (owner == nullptr || owner->instance_id == instance_id) return std::nullopt;
  return bad_request("owner_of_another_instance", "owner must be a user of the same instance");
}

void settle_project(const Caller& caller, FieldValues* values) {
  if (values->contains("project_id")) return;
  values->emplace("project_id", caller.role == CallerRole::admin ? std::string(kDefaultProject)
                                                                 : caller.project_id);
}

Outcome<Plan> plan_create(const RouteMatch& match, const HttpRequest& request, const json& body,
                          const Caller& caller, const Fresh& fresh) {
  const Resource resource = match.route->resource;
  auto checked = check_create(resource, body, fresh.now);
  if (!checked) return checked.problem();
  FieldValues values = std::move(*checked);
  const auto* project = value_of<std::string>(values, "project_id");
  if (project != nullptr && caller.role != CallerRole::admin && *project != caller.project_id) {
    return foreign_project();
  }
  Write plan;
  auto command_id = choose_command_id(match, request, caller, fresh, &plan.repeatable);
  if (!command_id) return command_id.problem();
  plan.command_id = *command_id;
  const auto* chosen = value_of<std::string>(values, "uuid");
  const std::string id = chosen ? *chosen : uuid_from_name("resource/" + plan.command_id);
  if (resource == Resource::instance) settle_project(caller, &values);
  std::string token_hash;
  if (resource == Resource::token) {
    // With a key, the same request makes the same token: nobody loses one by a lost answer. The
    // secret is the platform's for webhooks, used under another name.
    if (plan.repeatable && fresh.webhook_master.empty()) {
      return Problem{409, "idempotency_key_not_supported",
                     "Idempotency-Key: tokens cannot be made repeatably here; leave it out"};
    }
    const std::string secret =
        token_text(plan.repeatable ? hmac_sha256(fresh.webhook_master, "token/" + plan.command_id)
                                   : fresh.token_secret);
    plan.extra["token"] = secret;
    token_hash = hex(sha256(secret));
  }
  if (is_part_of_instance(resource)) {
    plan.needs.push_back(need(Resource::instance, match.instance_id, {}, caller));
  }
  for (const Field& field : fields_of(resource)) {
    const auto* reference = value_of<Reference>(values, field.name);
    if (reference == nullptr || field.create_path.empty()) continue;
    plan.needs.push_back(reference_need(field, *reference, caller));
  }
  plan.slow = values.contains("password");
  plan.build = [=, seed = plan.repeatable ? plan.command_id : std::string(),
                instance_id = match.instance_id](
                   const std::vector<json>& found,
                   const MakeVerifier& make_verifier) -> Outcome<v1::Command> {
    if (is_part_of_instance(resource)) {
      if (auto problem = check_belonging(values, caller, instance_id, found.front())) {
        return *problem;
      }
    }
    if (auto problem = check_owner(values, instance_id)) return *problem;
    auto command = build_command(resource, Verb::create, id, values, seed, make_verifier);
    if (command && resource == Resource::instance) {
      command->mutable_instance()->mutable_create_instance()->set_image(
          found.front().value("image", std::string()));
    }
    if (command && resource == Resource::token) {
      command->mutable_token()->mutable_create_token()->set_sha256(token_hash);
    }
    if (command) command->set_aggregate_id(is_part_of_instance(resource) ? instance_id : id);
    return command;
  };
  plan.read_back = get_query(resource, id, match.instance_id, caller);
  plan.success = 201;
  plan.location = match.asked_path + "/" + id;
  return Plan(std::move(plan));
}

Outcome<Plan> plan_update(const RouteMatch& match, const HttpRequest& request, const json& body,
                          const Caller& caller, const Fresh& fresh) {
  const Resource resource = match.route->resource;
  auto checked = check_update(resource, body, fresh.now);
  if (!checked) return checked.problem();
  const FieldValues values = std::move(*checked);
  if (const auto project = body.find("project_id"); project != body.end()) {
    const bool own = project->is_string() &&
                     canonical_uuid(project->get<std::string>()) == caller.project_id;
    if (!own && caller.role != CallerRole::admin) return foreign_project();
  }
  Write plan;
  auto command_id = choose_command_id(match, request, caller, fresh, &plan.repeatable);
  if (!command_id) return command_id.problem();
  plan.command_id = *command_id;
  plan.needs.push_back(need(resource, match.uuid, match.instance_id, caller));
  for (const Field& field : fields_of(resource)) {
    const auto* reference = value_of<Reference>(values, field.name);
    if (reference != nullptr) plan.needs.push_back(reference_need(field, *reference, caller));
  }
  plan.slow = values.contains("password");
  plan.build = [=, seed = plan.repeatable ? plan.command_id : std::string()](
                   const std::vector<json>& found,
                   const MakeVerifier& make_verifier) -> Outcome<v1::Command> {
    if (auto problem = check_against(resource, body, values, found.front())) return *problem;
    if (auto problem = check_owner(values, match.instance_id)) return *problem;
    FieldValues sent = values;
    // The message cannot say "as it is": a flag that is not given keeps its value.
    if (resource == Resource::host && !sent.contains("schedulable")) {
      sent["schedulable"] = found.front().value("schedulable", true);
    }
    auto command = build_command(resource, Verb::update, match.uuid, std::move(sent), seed,
                                 make_verifier);
    if (command) command->set_aggregate_id(aggregate_of(match, match.uuid));
    return command;
  };
  plan.read_back = get_query(resource, match.uuid, match.instance_id, caller);
  return Plan(std::move(plan));
}

}  // namespace

Outcome<std::string> choose_command_id(const RouteMatch& match, const HttpRequest& request,
                                       const Caller& caller, const Fresh& fresh,
                                       bool* repeatable) {
  const size_t count = request.header_count("idempotency-key");
  *repeatable = count > 0;
  if (count == 0) return fresh.uuid;
  const auto key = request.header("idempotency-key");
  const bool good =
      key && !key->empty() && key->size() <= 255 &&
      std::all_of(key->begin(), key->end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!good) {
    return bad_request("bad_idempotency_key",
                       "Idempotency-Key must be given once, 1 to 255 printable characters");
  }
  return uuid_from_name("idempotency/" + caller.token_id + "/" + request.method + match.path +
                        "#" + std::string(*key));
}

v1::Kind kind_of(Resource resource) {
  switch (resource) {
    case Resource::instance: return v1::KIND_INSTANCE;
    case Resource::user: return v1::KIND_USER;
    case Resource::database: return v1::KIND_DATABASE;
    case Resource::version: return v1::KIND_VERSION;
    case Resource::host: return v1::KIND_HOST;
    case Resource::token: return v1::KIND_TOKEN;
    case Resource::quota: return v1::KIND_QUOTA;
    case Resource::operation: return v1::KIND_OPERATION;
    case Resource::price_list: return v1::KIND_PRICE_LIST;
    case Resource::webhook: return v1::KIND_WEBHOOK;
    case Resource::usage:
    case Resource::invoice: break;
  }
  return v1::KIND_UNSPECIFIED;
}

v1::Query get_query(Resource resource, const std::string& uuid, const std::string& instance_id,
                    const Caller& caller) {
  v1::Query query;
  *query.mutable_scope() = scope_of(caller);
  auto* get = query.mutable_get_resource();
  get->set_kind(kind_of(resource));
  get->set_uuid(uuid);
  if (is_part_of_instance(resource)) get->set_instance_id(instance_id);
  return query;
}

Need need(Resource resource, const std::string& uuid, const std::string& instance_id,
          const Caller& caller) {
  return Need{get_query(resource, uuid, instance_id, caller), missing_resource(resource, uuid)};
}

Outcome<Plan> plan_change(const RouteMatch& match, const HttpRequest& request, const json& body,
                          const Caller& caller, const Fresh& fresh) {
  return match.route->action == Action::create ? plan_create(match, request, body, caller, fresh)
                                               : plan_update(match, request, body, caller, fresh);
}

Outcome<Plan> plan_remove(const RouteMatch& match, const HttpRequest& request,
                          const Caller& caller, const Fresh& fresh) {
  // So that there is always an administrator left who can make tokens.
  if (match.route->resource == Resource::token && match.uuid == caller.token_id) {
    return Problem{409, "token_in_use",
                   "a token cannot revoke itself: do it with another administrator's"};
  }
  Write plan;
  auto command_id = choose_command_id(match, request, caller, fresh, &plan.repeatable);
  if (!command_id) return command_id.problem();
  plan.command_id = *command_id;
  plan.needs.push_back(need(match.route->resource, match.uuid, match.instance_id, caller));
  plan.build = [match](const std::vector<json>&, const MakeVerifier& make_verifier) {
    auto command = build_command(match.route->resource, Verb::remove, match.uuid, {}, {},
                                 make_verifier);
    if (command) command->set_aggregate_id(aggregate_of(match, match.uuid));
    return command;
  };
  plan.success = 204;
  return Plan(std::move(plan));
}

std::string token_text(const std::string& random_bytes) {
  std::string text = base64(random_bytes);
  while (text.ends_with('=')) text.pop_back();
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return "tl_" + text;
}

}  // namespace trunkline::gateway
