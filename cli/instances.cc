#include <chrono>
#include <thread>

#include "cli/commands.h"
#include "cli/references.h"

namespace trunkline::cli {
namespace {

const std::vector<Field> kColumns = {
    {"UUID", "uuid"},
    {"NAME", "name", false, true},
    {"STATUS", "status"},
    {"CPU", "cpu", true},
    {"RAM", "ram", true},
    {"DISK", "disk_size", true},
    {"NODES", "nodes_number", true},
    {"SYNC", "sync_replica_number", true},
    {"READ-WRITE", "endpoints.read_write.address", false, true},
    {"CREATED", "created_at"},
};
const std::vector<Field> kFields = {
    {"uuid", "uuid"},
    {"name", "name"},
    {"description", "description"},
    {"project", "project_id"},
    {"status", "status"},
    {"error", "error.message"},
    {"version", "version"},
    {"cpu", "cpu"},
    {"ram (MB)", "ram"},
    {"disk (GB)", "disk_size"},
    {"nodes", "nodes_number"},
    {"synchronous", "sync_replica_number"},
    {"read-write", "endpoints.read_write.uri"},
    {"read-only", "endpoints.read_only.uri"},
    {"addresses", "ipsv4"},
    {"created", "created_at"},
    {"updated", "updated_at"},
};
const std::vector<Field> kNodeColumns = {
    {"ROLE", "role"},        {"STATUS", "status"},        {"HOST", "host"},
    {"ZONE", "zone"},        {"ADDRESS", "address"},      {"PORT", "port", true},
    {"LAG", "lag_bytes", true}, {"UUID", "uuid"},
};
const std::vector<Field> kEventColumns = {
    {"POSITION", "position", true}, {"TIME", "time"},
    {"TYPE", "type"},               {"ACTOR", "actor", false, true},
    {"WHAT", "payload", false, true},
};

const std::string kCollection = kResources + "instances";

std::string instance_path(Session& session, const std::string& instance) {
  return kCollection + "/" + resolve(session.api(), kCollection, instance, "instance");
}

void print_instance(Session& session, const Json& document) {
  session.print_document(kFields, document);
  const auto nodes = document.find("nodes");
  if (session.json || nodes == document.end() || !nodes->is_array() || nodes->empty()) return;
  session.terminal.out << "\n";
  session.print_rows(kNodeColumns, std::vector<Json>(nodes->begin(), nodes->end()));
}

struct Order {
  std::string instance;
  std::string name;
  std::string description;
  std::string project;
  std::string uuid;
  std::string version;
  int64_t cpu = 1;
  int64_t ram = 1024;
  int64_t disk = 8;
  int64_t nodes = 1;
  int64_t sync = 0;
  WaitOptions wait;
};

// Only what was given goes into the document: the API has the ranges and the defaults.
void add_order_options(CLI::App& command, Order& order, bool is_new) {
  const auto about = [is_new](const char* what, const std::string& otherwise) {
    return std::string(what) + " (default: " + (is_new ? otherwise : "as it is") + ")";
  };
  command.add_option("--description", order.description, about("for people", "none"))
      ->type_name("WORDS");
  command
      .add_option("--cpu", order.cpu,
                  about("virtual CPUs of each node, 1 to 128", std::to_string(order.cpu)))
      ->type_name("N");
  command
      .add_option("--ram", order.ram,
                  about("MB of each node, 512 to 1048576", std::to_string(order.ram)))
      ->type_name("MB");
  command
      .add_option("--disk", order.disk,
                  about("GB of each node, 8 to 1024; can grow, not shrink",
                        std::to_string(order.disk)))
      ->type_name("GB");
  command
      .add_option("--nodes", order.nodes,
                  about("number of nodes, 1 to 16", std::to_string(order.nodes)))
      ->type_name("N");
  command
      .add_option("--sync", order.sync,
                  about("standbys that must confirm a commit, fewer than nodes",
                        "1 if there is a standby, else 0"))
      ->type_name("N");
  add_wait(command, order.wait);
}

void take_given(const CLI::App& command, const Order& order, Json& body) {
  if (command.count("--description") != 0) body["description"] = order.description;
  if (command.count("--cpu") != 0) body["cpu"] = order.cpu;
  if (command.count("--ram") != 0) body["ram"] = order.ram;
  if (command.count("--disk") != 0) body["disk_size"] = order.disk;
  if (command.count("--nodes") != 0) body["nodes_number"] = order.nodes;
  if (command.count("--sync") != 0) body["sync_replica_number"] = order.sync;
}

void add_create(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "create", "order an instance");
  auto order = std::make_shared<Order>();
  command->add_option("--name", order->name, "for people; need not be unique")
      ->required()
      ->type_name("NAME");
  add_order_options(*command, *order, true);
  command->add_option("--version", order->version,
                      "name or UUID of the version (default: the only one that is offered)")
      ->type_name("NAME");
  command->add_option("--project", order->project,
                      "an administrator may choose it (default: the token's)")
      ->type_name("UUID");
  command->add_option("--uuid", order->uuid, "of the new instance (default: a new one)")
      ->type_name("UUID");
  command->callback([&session, order, command] {
    session.action = [&session, order, command] {
      Json body = {{"name", order->name}};
      body["cpu"] = order->cpu;
      body["ram"] = order->ram;
      body["disk_size"] = order->disk;
      body["nodes_number"] = order->nodes;
      take_given(*command, *order, body);
      body["version"] = version_reference(session.api(), order->version);
      if (!order->project.empty()) body["project_id"] = order->project;
      if (!order->uuid.empty()) body["uuid"] = order->uuid;
      return finish_write(session, kFields, session.api().post(kCollection, body), kCollection,
                          order->wait);
    };
  });
}

void add_update(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "update", "change an instance, also while it runs");
  auto order = std::make_shared<Order>();
  command->add_option("instance", order->instance, "name or UUID")->required()->type_name("NAME");
  command->add_option("--name", order->name, "new name (default: as it is)")->type_name("NAME");
  add_order_options(*command, *order, false);
  command->callback([&session, order, command] {
    session.action = [&session, order, command] {
      Json body = Json::object();
      if (command->count("--name") != 0) body["name"] = order->name;
      take_given(*command, *order, body);
      if (body.empty()) throw Failure(ExitCode::usage, "say what to change (see --help)");
      const std::string path = instance_path(session, order->instance);
      const auto written = session.api().put(path, body);
      const bool resizes = body.contains("cpu") || body.contains("ram");
      const bool is_shown = written.document.is_object();
      if (resizes && is_shown && text_of(written.document, "nodes_number") == "1") {
        session.note("its only node restarts to take the new size: sessions end");
      }
      return finish_write(session, kFields, written, path, order->wait);
    };
  });
}

void add_retry(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "retry", "try again what ended in ERROR");
  auto order = std::make_shared<Order>();
  command->add_option("instance", order->instance, "name or UUID")->required()->type_name("NAME");
  add_wait(*command, order->wait);
  command->callback([&session, order] {
    session.action = [&session, order] {
      const std::string path = instance_path(session, order->instance);
      return finish_write(session, kFields, session.api().put(path, Json::object()), path,
                          order->wait);
    };
  });
}

// A deleted instance is not there for GET at once; its history says when nothing of it is left.
void wait_until_gone(Session& session, const std::string& path, int64_t timeout_s) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s);
  do {
    try {
      for (const Json& event : session.api().list(path + "/events")) {
        if (text_of(event, "type") == "instance_deleted") return;
      }
    } catch (const Failure& failure) {
      if (failure.code == ExitCode::not_found) return;
      if (failure.code != ExitCode::unavailable) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  } while (std::chrono::steady_clock::now() < deadline);
  throw Failure(ExitCode::unavailable, "not gone after " + std::to_string(timeout_s) + " s");
}

void add_delete(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "delete", "delete an instance with all its data");
  auto order = std::make_shared<Order>();
  command->add_option("instance", order->instance, "name or UUID")->required()->type_name("NAME");
  command->add_flag("--wait", order->wait.wait, "wait until nothing of it is left");
  command->add_option("--timeout", order->wait.timeout_s, "seconds to wait at most (default 120)")
      ->type_name("S");
  command->callback([&session, order] {
    session.action = [&session, order] {
      const std::string path = instance_path(session, order->instance);
      const auto written = session.api().remove(path);
      if (order->wait.wait) {
        if (!written.operation.empty()) {
          wait_for_operation(session.api(), written.operation, order->wait.timeout_s);
        }
        wait_until_gone(session, path, order->wait.timeout_s);
      }
      return ExitCode::ok;
    };
  });
}

void add_get(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "get", "show an instance and its nodes");
  auto instance = std::make_shared<std::string>();
  auto at = std::make_shared<std::string>();
  command->add_option("instance", *instance, "name or UUID")->required()->type_name("NAME");
  command
      ->add_option("--at", *at, "as of then: RFC 3339 time or position in the log (default: now)")
      ->type_name("WHEN");
  command->callback([&session, instance, at] {
    session.action = [&session, instance, at] {
      Query query;
      if (!at->empty()) query.emplace_back("at", *at);
      print_instance(session, session.api().get(instance_path(session, *instance), query));
      return ExitCode::ok;
    };
  });
}

// {"payload": {"node_placed": {…}}} as {"payload": {…}}: the type has a column of its own.
void unwrap_payload(Json& event) {
  const auto payload = event.find("payload");
  if (payload == event.end() || !payload->is_object()) return;
  const auto body = payload->find(text_of(event, "type"));
  if (body != payload->end()) event["payload"] = Json(*body);
}

void add_history(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "history", "show an instance's events, newest last");
  auto instance = std::make_shared<std::string>();
  auto limit = std::make_shared<size_t>(0);
  command->add_option("instance", *instance, "name or UUID")->required()->type_name("NAME");
  command->add_option("-n", *limit, "only the first N (default: all)")->type_name("N");
  command->callback([&session, instance, limit] {
    session.action = [&session, instance, limit] {
      const std::string path = instance_path(session, *instance) + "/events";
      std::vector<Json> events = session.api().list(path, {}, *limit);
      if (!session.json) {
        for (Json& event : events) unwrap_payload(event);
      }
      session.print_rows(kEventColumns, events);
      return ExitCode::ok;
    };
  });
}

void add_list(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "list", "list instances");
  auto list = std::make_shared<ListOptions>();
  add_list_options(*command, *list);
  command->callback([&session, list] {
    session.action = [&session, list] {
      std::vector<Json> rows = session.api().list(kCollection, query_of(*list), list->limit);
      if (!session.json) {
        for (Json& row : rows) {
          const std::string host = text_of(row, "endpoints.read_write.host");
          if (host.empty()) continue;
          row["endpoints"]["read_write"]["address"] =
              host + ":" + text_of(row, "endpoints.read_write.port");
        }
      }
      session.print_rows(kColumns, rows);
      return ExitCode::ok;
    };
  });
}

}  // namespace

void add_instances(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "instances", "order, change and look at instances");
  add_list(*group, session);
  add_get(*group, session);
  add_create(*group, session);
  add_update(*group, session);
  add_delete(*group, session);
  add_history(*group, session);
  add_retry(*group, session);
}

}  // namespace trunkline::cli
