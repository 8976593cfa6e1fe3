#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {

ProxyFixture::Node& ProxyFixture::add_node(std::vector<std::string> settings) {
  Node node;
  node.id = "00000000-0000-4000-8000-00000000000" + std::to_string(nodes_.size());
  node.port = testing::free_port();
  node.server = std::make_unique<testing::TempPostgres>(
      testing::TempPostgresOptions{node.port, std::move(settings)});
  node.server->execute("postgres", "CREATE ROLE app LOGIN PASSWORD '" + verifier_ + "'");
  node.server->execute("postgres", "CREATE DATABASE app OWNER app");
  nodes_.push_back(std::move(node));
  return nodes_.back();
}

v1::Route ProxyFixture::route(v1::RouteState state, uint64_t term, size_t primary) {
  v1::Route out;
  out.set_instance_id(kInstance);
  out.set_position(++position_);
  out.set_term(term);
  out.set_state(state);
  out.set_connections(12'000);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    auto* node = out.add_nodes();
    node->set_node_id(nodes_[i].id);
    node->set_primary(i == primary);
    node->set_serves(i != primary || state == v1::ROUTE_STATE_OPEN);
    node->mutable_address()->set_host("host-" + std::to_string(i));
    node->mutable_address()->set_address("127.0.0.1");
    node->mutable_address()->set_port(static_cast<uint32_t>(nodes_[i].port));
  }
  auto* user = out.add_users();
  user->set_name("app");
  user->set_scram_verifier(verifier_);
  return out;
}

void ProxyFixture::start_proxy(ProxyOptions options) {
  options.listen_address = "127.0.0.1";
  options.mock_secret = "mock";
  if (options.threads == 0) options.threads = 2;
  proxy_ = std::make_unique<ProxyServer>(std::move(options));
}

std::string ProxyFixture::conninfo(const std::string& extra) const {
  const bool names_endpoint = extra.find("options=") != std::string::npos ||
                              extra.find("port=") != std::string::npos;
  return "host=127.0.0.1 port=" + std::to_string(proxy_->port()) +
         " user=app dbname=app password=secret sslmode=disable connect_timeout=60 " +
         (names_endpoint ? std::string()
                         : std::string("options='-c trunkline.endpoint=") + kInstance + "' ") +
         extra;
}

Client ProxyFixture::connect(const std::string& extra) const {
  return Client(PQconnectdb(conninfo(extra).c_str()));
}

std::string ProxyFixture::value(const Client& client, const std::string& sql) {
  PGresult* result = PQexec(client.get(), sql.c_str());
  std::string out;
  if (PQresultStatus(result) == PGRES_TUPLES_OK) {
    out = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  } else if (PQresultStatus(result) != PGRES_COMMAND_OK) {
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    out = std::string("!") + (state == nullptr ? PQerrorMessage(client.get()) : state);
  }
  PQclear(result);
  return out;
}

bool ProxyFixture::await(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace trunkline::proxy
