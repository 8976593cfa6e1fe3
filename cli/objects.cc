// Users and databases of an instance.
#include "cli/commands.h"
#include "cli/password.h"
#include "cli/references.h"

namespace trunkline::cli {
namespace {

const std::vector<Field> kUserColumns = {{"UUID", "uuid"},
                                         {"NAME", "name", false, true},
                                         {"STATUS", "status"},
                                         {"DESCRIPTION", "description", false, true},
                                         {"CREATED", "created_at"}};
const std::vector<Field> kUserFields = {
    {"uuid", "uuid"},         {"name", "name"},         {"description", "description"},
    {"instance", "instance"}, {"status", "status"},     {"error", "error.message"},
    {"created", "created_at"}, {"updated", "updated_at"}};
const std::vector<Field> kDatabaseColumns = {{"UUID", "uuid"},
                                             {"NAME", "name", false, true},
                                             {"STATUS", "status"},
                                             {"OWNER", "owner_name", false, true},
                                             {"CREATED", "created_at"}};
const std::vector<Field> kDatabaseFields = {
    {"uuid", "uuid"},     {"name", "name"},     {"description", "description"},
    {"instance", "instance"}, {"owner", "owner"},   {"locale", "locale"},
    {"encoding", "encoding"}, {"icu_locale", "icu_locale"}, {"status", "status"},
    {"error", "error.message"}, {"created", "created_at"}, {"updated", "updated_at"}};

struct Order {
  std::string instance;
  std::string object;
  std::string name;
  std::string description;
  std::string owner;
  bool anew = false;
  std::string locale;
  std::string encoding;
  std::string icu_locale;
  std::string password_file;
  bool change_password = false;
  ListOptions list;
  WaitOptions wait;
};

// What differs between the two.
struct Kind {
  std::string one;
  std::string many;
  std::vector<Field> columns;
  std::vector<Field> fields;
};
const Kind kUsers = {"user", "users", kUserColumns, kUserFields};
const Kind kDatabases = {"database", "databases", kDatabaseColumns, kDatabaseFields};

using Action = std::function<ExitCode(Order&, const std::string& instance_id,
                                      const std::string& collection)>;

// A command with --instance; `action` gets the instance's UUID and the collection's path.
std::shared_ptr<Order> add_object_command(CLI::App* command, Session& session, const Kind& kind,
                                          Action action) {
  auto order = std::make_shared<Order>();
  command->add_option("--instance", order->instance, "name or UUID of the instance")
      ->required()
      ->type_name("NAME");
  command->callback([&session, &kind, order, action] {
    session.action = [&session, &kind, order, action] {
      const std::string id =
          resolve(session.api(), kResources + "instances", order->instance, "instance");
      return action(*order, id, kResources + "instances/" + id + "/" + kind.many);
    };
  });
  return order;
}

std::string object_path(Session& session, const Kind& kind, const Order& order,
                        const std::string& collection) {
  return collection + "/" + resolve(session.api(), collection, order.object, kind.one);
}

// Tables show an owner by name; the API names it by reference.
void add_owner_names(Session& session, const std::string& instance_id, std::vector<Json>& rows) {
  std::map<std::string, std::string> names;
  for (const Json& user :
       session.api().list(kResources + "instances/" + instance_id + "/users")) {
    names[text_of(user, "uuid")] = text_of(user, "name");
  }
  for (Json& row : rows) {
    const std::string owner = text_of(row, "owner");
    const std::string uuid = owner.substr(owner.rfind('/') + 1);
    const auto name = names.find(uuid);
    row["owner_name"] = name == names.end() ? uuid : name->second;
  }
}

void add_list(CLI::App& group, Session& session, const Kind& kind) {
  CLI::App* command = add_command(group, "list", "list them");
  auto order = add_object_command(
      command, session, kind,
      [&session, &kind](Order& o, const std::string& instance_id, const std::string& collection) {
        auto rows = session.api().list(collection, query_of(o.list), o.list.limit);
        if (!session.json && &kind == &kDatabases && !rows.empty()) {
          add_owner_names(session, instance_id, rows);
        }
        session.print_rows(kind.columns, rows);
        return ExitCode::ok;
      });
  add_list_options(*command, order->list);
}

void add_get(CLI::App& group, Session& session, const Kind& kind) {
  CLI::App* command = add_command(group, "get", "show one");
  auto order = add_object_command(
      command, session, kind,
      [&session, &kind](Order& o, const std::string&, const std::string& collection) {
        session.print_document(kind.fields,
                               session.api().get(object_path(session, kind, o, collection)));
        return ExitCode::ok;
      });
  command->add_option(kind.one, order->object, "name or UUID")->required()->type_name("NAME");
}

void add_delete(CLI::App& group, Session& session, const Kind& kind) {
  CLI::App* command = add_command(group, "delete", "delete one");
  auto order = add_object_command(
      command, session, kind,
      [&session, &kind](Order& o, const std::string&, const std::string& collection) {
        const auto written = session.api().remove(object_path(session, kind, o, collection));
        if (!written.operation.empty()) {
          wait_for_operation(session.api(), written.operation, o.wait.timeout_s);
        }
        return ExitCode::ok;
      });
  command->add_option(kind.one, order->object, "name or UUID")->required()->type_name("NAME");
}

void add_user_writes(CLI::App& group, Session& session) {
  const std::string password_help =
      "first line is the password, - for standard input (default: ask, or standard input)";
  CLI::App* create = add_command(group, "create", "create a user that may log in");
  auto order = add_object_command(
      create, session, kUsers,
      [&session](Order& o, const std::string&, const std::string& collection) {
        Json body = {{"name", o.name}, {"password", read_password(session, o.password_file)}};
        if (!o.description.empty()) body["description"] = o.description;
        return finish_write(session, kUserFields, session.api().post(collection, body), collection,
                            o.wait);
      });
  create->add_option("--name", order->name,
                     "a letter or _ first, then letters, digits, _ and $")
      ->required()
      ->type_name("NAME");
  create->add_option("--description", order->description, "for people (default: none)")
      ->type_name("WORDS");
  create->add_option("--password-file", order->password_file, password_help)->type_name("FILE");
  add_wait(*create, order->wait);

  CLI::App* update = add_command(group, "update", "change a user's password or description");
  order = add_object_command(
      update, session, kUsers,
      [&session, update](Order& o, const std::string&, const std::string& collection) {
        Json body = Json::object();
        if (update->count("--description") != 0) body["description"] = o.description;
        if (o.change_password || !o.password_file.empty()) {
          body["password"] = read_password(session, o.password_file);
        }
        if (body.empty()) throw Failure(ExitCode::usage, "say what to change (see --help)");
        const std::string path = object_path(session, kUsers, o, collection);
        return finish_write(session, kUserFields, session.api().put(path, body), path, o.wait);
      });
  update->add_option("user", order->object, "name or UUID")->required()->type_name("NAME");
  update->add_option("--description", order->description, "for people (default: as it is)")
      ->type_name("WORDS");
  update->add_flag("--password", order->change_password, "ask for a new password");
  update->add_option("--password-file", order->password_file, password_help)->type_name("FILE");
  add_wait(*update, order->wait);
}

void add_database_writes(CLI::App& group, Session& session) {
  CLI::App* create = add_command(group, "create", "create a database");
  auto order = add_object_command(
      create, session, kDatabases,
      [&session](Order& o, const std::string& instance_id, const std::string& collection) {
        Json body = {{"name", o.name},
                     {"owner", user_reference(session.api(), instance_id, o.owner)}};
        if (!o.description.empty()) body["description"] = o.description;
        if (!o.locale.empty()) body["locale"] = o.locale;
        if (!o.encoding.empty()) body["encoding"] = o.encoding;
        if (!o.icu_locale.empty()) body["icu_locale"] = o.icu_locale;
        return finish_write(session, kDatabaseFields, session.api().post(collection, body),
                            collection, o.wait);
      });
  create->add_option("--name", order->name,
                     "a letter or _ first, then letters, digits, _ and $")
      ->required()
      ->type_name("NAME");
  create->add_option("--owner", order->owner, "name or UUID of a user")
      ->required()
      ->type_name("NAME");
  create->add_option("--locale", order->locale, "one that the host has (default: C.UTF-8)")
      ->type_name("LOCALE");
  create->add_option("--encoding", order->encoding, "must go with the locale (default: UTF8)")
      ->type_name("UTF8|LATIN1|…");
  create->add_option("--icu-locale", order->icu_locale,
                     "sorts text by this locale of ICU, like de-AT (default: none)")
      ->type_name("LOCALE");
  create->add_option("--description", order->description, "for people (default: none)")
      ->type_name("WORDS");
  add_wait(*create, order->wait);

  CLI::App* update = add_command(group, "update", "rename it, give it another owner");
  order = add_object_command(
      update, session, kDatabases,
      [&session, update](Order& o, const std::string& instance_id,
                         const std::string& collection) {
        Json body = Json::object();
        if (update->count("--name") != 0) body["name"] = o.name;
        if (update->count("--description") != 0) body["description"] = o.description;
        if (!o.owner.empty()) body["owner"] = user_reference(session.api(), instance_id, o.owner);
        if (body.empty() && !o.anew) {
          throw Failure(ExitCode::usage, "say what to change (see --help)");
        }
        if (!o.owner.empty()) {
          session.note("The objects of the former owner in this database go with it.");
        }
        const std::string path = object_path(session, kDatabases, o, collection);
        return finish_write(session, kDatabaseFields, session.api().put(path, body), path, o.wait);
      });
  update->add_option("database", order->object, "name or UUID")->required()->type_name("NAME");
  update->add_option("--name", order->name, "new name (default: as it is)")->type_name("NAME");
  update
      ->add_option("--owner", order->owner,
                   "name or UUID of a user; the objects of the former owner in this database go "
                   "with it (default: as it is)")
      ->type_name("NAME");
  update->add_flag("--anew", order->anew,
                   "try again what failed; make a database that was dropped by SQL anew, empty");
  update->add_option("--description", order->description, "for people (default: as it is)")
      ->type_name("WORDS");
  add_wait(*update, order->wait);
}

}  // namespace

void add_users(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "users", "users of an instance");
  add_list(*group, session, kUsers);
  add_get(*group, session, kUsers);
  add_user_writes(*group, session);
  add_delete(*group, session, kUsers);
}

void add_databases(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "databases", "databases of an instance");
  add_list(*group, session, kDatabases);
  add_get(*group, session, kDatabases);
  add_database_writes(*group, session);
  add_delete(*group, session, kDatabases);
}

}  // namespace trunkline::cli
