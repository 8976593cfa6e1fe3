// Versions, hosts, tokens and operations: what administrators look after.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/ids.h"
#include "cli/commands.h"
#include "cli/references.h"

namespace trunkline::cli {
namespace {

const std::string kVersions = kResources + "versions";
const std::string kHosts = "/v1/hosts";
const std::string kTokens = "/v1/tokens";
const std::string kOperations = "/v1/operations";

const std::vector<Field> kVersionFields = {
    {"UUID", "uuid"},   {"NAME", "name", false, true}, {"IMAGE", "image", false, true},
    {"DESCRIPTION", "description", false, true},       {"CREATED", "created_at"}};
const std::vector<Field> kHostColumns = {
    {"NAME", "name"},           {"ZONE", "zone"},
    {"ADDRESS", "address"},     {"STATE", "state"},
    {"SCHEDULABLE", "schedulable"},
    {"CPU", "cpu", true},       {"RAM", "ram", true},
    {"DISK", "disk_size", true}, {"IMAGES", "images", false, true},
    {"UUID", "uuid"}};
const std::vector<Field> kHostFields = {
    {"uuid", "uuid"},         {"name", "name"},
    {"zone", "zone"},         {"address", "address"},
    {"state", "state"},       {"schedulable", "schedulable"},
    {"nodes placed", "placed.nodes"}, {"cpu", "cpu"},
    {"ram (MB)", "ram"},      {"disk (GB)", "disk_size"},
    {"images", "images"},     {"reported", "reported_at"},
    {"created", "created_at"}, {"updated", "updated_at"}};
const std::vector<Field> kTokenColumns = {
    {"UUID", "uuid"},          {"NAME", "name", false, true}, {"ROLE", "role"},
    {"PROJECT", "project_id"}, {"EXPIRES", "expires_at"},     {"CREATED", "created_at"}};
const std::vector<Field> kOperationFields = {
    {"uuid", "uuid"},         {"status", "status"},
    {"resource", "resource"}, {"error", "error.type"},
    {"message", "error.message"}, {"position", "position"},
    {"created", "created_at"}};

void add_list(CLI::App& group, Session& session, const std::string& collection,
              const std::vector<Field>& columns) {
  CLI::App* command = add_command(group, "list", "list them");
  auto list = std::make_shared<ListOptions>();
  add_list_options(*command, *list);
  command->callback([&session, list, collection, &columns] {
    session.action = [&session, list, collection, &columns] {
      session.print_rows(columns, session.api().list(collection, query_of(*list), list->limit));
      return ExitCode::ok;
    };
  });
}

// A command on the one resource that its first argument names.
void add_on_one(CLI::App* command, Session& session, const std::string& what,
                const std::string& collection,
                std::function<ExitCode(const std::string& path)> action) {
  auto name = std::make_shared<std::string>();
  command->add_option(what, *name, "name or UUID")->required()->type_name("NAME");
  command->callback([&session, name, what, collection, action = std::move(action)] {
    session.action = [&session, name, what, collection, action] {
      return action(collection + "/" + resolve(session.api(), collection, *name, what));
    };
  });
}

void add_get(CLI::App& group, Session& session, const std::string& what,
             const std::string& collection, const std::vector<Field>& fields) {
  add_on_one(add_command(group, "get", "show one"), session, what, collection,
             [&session, &fields](const std::string& path) {
               session.print_document(fields, session.api().get(path));
               return ExitCode::ok;
             });
}

void add_delete(CLI::App& group, Session& session, const std::string& verb,
                const std::string& about, const std::string& what, const std::string& collection) {
  add_on_one(add_command(group, verb, about), session, what, collection,
             [&session](const std::string& path) {
               const auto written = session.api().remove(path);
               if (!written.operation.empty()) {
                 wait_for_operation(session.api(), written.operation, WaitOptions().timeout_s);
               }
               return ExitCode::ok;
             });
}

struct VersionOrder {
  std::string name;
  std::string image;
  std::string description;
};

void add_version_writes(CLI::App& group, Session& session) {
  CLI::App* create = add_command(group, "create", "offer a version");
  auto order = std::make_shared<VersionOrder>();
  create->add_option("--name", order->name, "of the version, as clients see it")
      ->required()
      ->type_name("NAME");
  create->add_option("--image", order->image, "what the hosts run: postgresql-15, for example")
      ->required()
      ->type_name("IMAGE");
  create->add_option("--description", order->description, "for people (default: none)")
      ->type_name("WORDS");
  create->callback([&session, order] {
    session.action = [&session, order] {
      Json body = {{"name", order->name}, {"image", order->image}};
      if (!order->description.empty()) body["description"] = order->description;
      return finish_write(session, kVersionFields, session.api().post(kVersions, body), kVersions,
                          {});
    };
  });

  CLI::App* update = add_command(group, "update", "change a version");
  auto change = std::make_shared<VersionOrder>();
  update->add_option("--name", change->name, "new name (default: as it is)")->type_name("NAME");
  update->add_option("--image", change->image, "what the hosts run (default: as it is)")
      ->type_name("IMAGE");
  update->add_option("--description", change->description, "for people (default: as it is)")
      ->type_name("WORDS");
  add_on_one(update, session, "version", kVersions,
             [&session, change, update](const std::string& path) {
               Json body = Json::object();
               if (update->count("--name") != 0) body["name"] = change->name;
               if (update->count("--image") != 0) body["image"] = change->image;
               if (update->count("--description") != 0) body["description"] = change->description;
               if (body.empty()) throw Failure(ExitCode::usage, "say what to change (see --help)");
               return finish_write(session, kVersionFields, session.api().put(path, body), path,
                                   {});
             });
}

void add_schedulable(CLI::App& group, Session& session, const std::string& verb,
                     const std::string& about, bool schedulable) {
  add_on_one(add_command(group, verb, about), session, "host", kHosts,
             [&session, schedulable](const std::string& path) {
               return finish_write(session, kHostFields,
                                   session.api().put(path, {{"schedulable", schedulable}}), path,
                                   {});
             });
}

void add_host_order(CLI::App& group, Session& session, const std::string& verb,
                    const std::string& about) {
  add_on_one(add_command(group, verb, about), session, "host", kHosts,
             [&session, verb](const std::string& path) {
               const auto written = session.api().post(path + "/" + verb, Json::object());
               return finish_write(session, kHostFields, written, path, {});
             });
}

const std::vector<Field> kOrphanColumns = {
    {"NODE", "node"}, {"INSTANCE", "instance"}, {"BYTES", "data_bytes"}};

void add_orphans(CLI::App& hosts, Session& session) {
  CLI::App* group = add_group(hosts, "orphans", "nodes that the log does not know");
  add_on_one(add_command(*group, "list", "show those of a host; they are stopped and kept"),
             session, "host", kHosts, [&session](const std::string& path) {
               const Json document = session.api().get(path);
               session.print_rows(kOrphanColumns, document.value("orphans", std::vector<Json>{}));
               return ExitCode::ok;
             });
  CLI::App* remove = add_command(*group, "remove", "remove one for good, with its data");
  auto node = std::make_shared<std::string>();
  add_on_one(remove, session, "host", kHosts, [&session, node](const std::string& path) {
    const auto uuid = canonical_uuid(*node);
    if (!uuid) throw Failure(ExitCode::usage, "--node must be a UUID, as `orphans list` shows it");
    const auto written = session.api().post(path + "/remove-orphan", {{"node", *uuid}});
    return finish_write(session, kHostFields, written, path, {});
  });
  remove->add_option("--node", *node, "as the list shows it")->required()->type_name("UUID");
}

// Made with mode 0600 before anything is in it; an existing file is not overwritten.
int create_private_file(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) throw Failure(ExitCode::usage, path + ": " + std::strerror(errno));
  return file;
}

void write_token(int file, const std::string& path, const std::string& token) {
  const std::string line = token + "\n";
  const ssize_t written = write(file, line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size()) || close(file) != 0) {
    throw Failure(ExitCode::usage, path + ": cannot be written");
  }
}

struct TokenOrder {
  std::string name;
  std::string role = "member";
  std::string project;
  std::string expires;
  std::string out;
};

ExitCode create_token(Session& session, const TokenOrder& order) {
  Json body = {{"name", order.name}, {"role", order.role}};
  if (!order.project.empty()) body["project_id"] = order.project;
  if (!order.expires.empty()) body["expires_at"] = order.expires;
  ApiClient& api = session.api();
  const int file = order.out.empty() ? -1 : create_private_file(order.out);
  Json document;
  try {
    document = api.post(kTokens, body).document;
  } catch (...) {
    if (file >= 0) {
      close(file);
      unlink(order.out.c_str());
    }
    throw;
  }
  if (file >= 0) {
    write_token(file, order.out, text_of(document, "token"));
    document.erase("token");
    session.note("the token is in " + order.out);
  }
  std::vector<Field> fields = kTokenColumns;
  fields.push_back({"TOKEN", "token"});
  session.print_document(fields, document);
  return ExitCode::ok;
}

void add_token_create(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "create", "make a token; it is shown this once");
  auto order = std::make_shared<TokenOrder>();
  command->add_option("--name", order->name, "of the token, for people")
      ->required()
      ->type_name("NAME");
  command->add_option("--role", order->role, "what it may do (default: member)")
      ->check(CLI::IsMember({"admin", "member", "reader"}))
      ->type_name("admin|member|reader");
  command->add_option("--project", order->project,
                      "its project; needed but for an admin (default: none)")
      ->type_name("UUID");
  command->add_option("--expires", order->expires, "RFC 3339 time (default: never)")
      ->type_name("TIME");
  command
      ->add_option("--out", order->out, "write it to this new file, mode 0600 (default: show it)")
      ->type_name("FILE");
  command->callback([&session, order] {
    session.action = [&session, order] { return create_token(session, *order); };
  });
}

}  // namespace

void add_versions(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "versions", "PostgreSQL versions on offer");
  add_list(*group, session, kVersions, kVersionFields);
  add_get(*group, session, "version", kVersions, kVersionFields);
  add_version_writes(*group, session);
  add_delete(*group, session, "delete", "take it from the offer; instances on it go on", "version",
             kVersions);
}

void add_hosts(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "hosts", "hosts that run nodes");
  add_list(*group, session, kHosts, kHostColumns);
  add_get(*group, session, "host", kHosts, kHostFields);
  add_schedulable(*group, session, "cordon", "place no new nodes on it", false);
  add_schedulable(*group, session, "uncordon", "place nodes on it again", true);
  add_host_order(*group, session, "drain", "move every node of it away; uncordon ends it");
  add_host_order(*group, session, "lost", "it is dead: replace its nodes without waiting for it");
  add_orphans(*group, session);
}

void add_tokens(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "tokens", "who may use the API");
  add_list(*group, session, kTokens, kTokenColumns);
  add_token_create(*group, session);
  add_delete(*group, session, "revoke", "make it worthless", "token", kTokens);
}

void add_operations(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "operations", "commands that were not answered in time");
  CLI::App* command = add_command(*group, "get", "show one");
  auto id = std::make_shared<std::string>();
  auto wait = std::make_shared<WaitOptions>();
  command->add_option("operation", *id, "as an answer 202 names it")->required()->type_name("UUID");
  add_wait(*command, *wait, "wait until it is decided");
  command->callback([&session, id, wait] {
    session.action = [&session, id, wait] {
      const auto uuid = canonical_uuid(*id);
      if (!uuid) throw Failure(ExitCode::usage, "an operation's id is a UUID");
      const std::string path = kOperations + "/" + *uuid;
      session.print_document(kOperationFields,
                             wait->wait
                                 ? wait_for_operation(session.api(), path, wait->timeout_s)
                                 : session.api().get(path));
      return ExitCode::ok;
    };
  });
}

}  // namespace trunkline::cli
