// Quotas: what the instances of a project may have together.
#include "base/ids.h"
#include "cli/commands.h"
#include "cli/references.h"

namespace trunkline::cli {
namespace {

const std::string kQuotas = "/v1/quotas";

const std::vector<Field> kQuotaFields = {
    {"PROJECT", "project_id"},    {"INSTANCES", "instances", true}, {"CPU", "cpu", true},
    {"RAM", "ram", true},         {"DISK", "disk_size", true},      {"UPDATED", "updated_at"}};

std::string path_of(const std::string& project) {
  if (project == "default") return kQuotas + "/00000000-0000-0000-0000-000000000000";
  const auto uuid = canonical_uuid(project);
  if (!uuid) throw Failure(ExitCode::usage, "a project is a UUID, or \"default\"");
  return kQuotas + "/" + *uuid;
}

void add_project(CLI::App& command, std::string& project) {
  command.add_option("project", project,
                     "UUID, or \"default\" for every project that has none of its own")
      ->required()
      ->type_name("UUID");
}

void add_list(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "list", "list those that you may see");
  auto list = std::make_shared<ListOptions>();
  add_list_options(*command, *list);
  command->callback([&session, list] {
    session.action = [&session, list] {
      session.print_rows(kQuotaFields, session.api().list(kQuotas, query_of(*list), list->limit));
      return ExitCode::ok;
    };
  });
}

void add_get(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "get", "show one");
  auto project = std::make_shared<std::string>();
  add_project(*command, *project);
  command->callback([&session, project] {
    session.action = [&session, project] {
      session.print_document(kQuotaFields, session.api().get(path_of(*project)));
      return ExitCode::ok;
    };
  });
}

struct Wish {
  std::string project;
  uint64_t instances = 0, cpu = 0, ram = 0, disk = 0;
};

ExitCode set_quota(Session& session, const Wish& wish, Json body) {
  const std::string path = path_of(wish.project);
  try {
    return finish_write(session, kQuotaFields, session.api().put(path, body), path, {});
  } catch (const Failure& failure) {
    if (failure.code != ExitCode::not_found) throw;
  }
  body["uuid"] = path.substr(kQuotas.size() + 1);
  return finish_write(session, kQuotaFields, session.api().post(kQuotas, body), path, {});
}

void add_set(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "set", "set or change one; what there is already stays");
  auto wish = std::make_shared<Wish>();
  add_project(*command, wish->project);
  command->add_option("--instances", wish->instances,
                      "at most so many (default: as it is, of a new one no bound)")
      ->type_name("N");
  command->add_option("--cpu", wish->cpu, "of all nodes together (default: as --instances)")
      ->type_name("N");
  command->add_option("--ram", wish->ram, "MB of all nodes together (default: as --instances)")
      ->type_name("MB");
  command->add_option("--disk", wish->disk, "GB of all nodes together (default: as --instances)")
      ->type_name("GB");
  command->callback([&session, wish, command] {
    session.action = [&session, wish, command] {
      Json body = Json::object();
      if (command->count("--instances") != 0) body["instances"] = wish->instances;
      if (command->count("--cpu") != 0) body["cpu"] = wish->cpu;
      if (command->count("--ram") != 0) body["ram"] = wish->ram;
      if (command->count("--disk") != 0) body["disk_size"] = wish->disk;
      if (body.empty()) throw Failure(ExitCode::usage, "say what to change (see --help)");
      return set_quota(session, *wish, std::move(body));
    };
  });
}

void add_delete(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "delete", "take it away: the default holds then");
  auto project = std::make_shared<std::string>();
  add_project(*command, *project);
  command->callback([&session, project] {
    session.action = [&session, project] {
      session.api().remove(path_of(*project));
      return ExitCode::ok;
    };
  });
}

}  // namespace

void add_quotas(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "quotas", "what the instances of a project may have together");
  add_list(*group, session);
  add_get(*group, session);
  add_set(*group, session);
  add_delete(*group, session);
}

}  // namespace trunkline::cli
