// The other side of the bus for the gateway's tests: answers queries from documents that a test
// puts in, and commands as a test says. It stands for lookup and the services on a real NATS.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "trunkline/v1/envelope.pb.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::gateway::testing {

class PeerServices {
 public:
  explicit PeerServices(const std::string& nats_url);

  // Documents by (kind, uuid); `project` limits who sees it, empty: everybody.
  void put(v1::Kind kind, const std::string& uuid, const std::string& document,
           const std::string& project = {});
  void remove(v1::Kind kind, const std::string& uuid);
  void put_token(const std::string& token, const std::string& document);
  void remove_token(const std::string& token);

  using Decide = std::function<std::optional<v1::CommandAnswer>(const v1::Command&)>;
  void on_command(Decide decide);  // nothing: silence
  // Default for queries that the documents do not answer.
  using Answer = std::function<std::optional<v1::QueryAnswer>(const v1::Query&)>;
  void on_query(Answer answer);

  std::vector<v1::Command> commands();  // as they came, repeats included
  std::vector<std::string> takers();    // the services that they came to
  std::vector<v1::Query> queries();
  // Waits until `count` commands came.
  bool await_commands(size_t count);
  bus::Bus& bus() { return *bus_; }

 private:
  void answer_query(const bus::Message& message);
  void answer_command(const std::string& service, const bus::Message& message);
  v1::QueryAnswer from_documents(const v1::Query& query);

  std::mutex mutex_;
  std::condition_variable changed_;
  struct Document {
    std::string json;
    std::string project;
  };
  std::map<std::pair<int, std::string>, Document> documents_;
  std::map<std::string, std::string> tokens_;  // by SHA-256
  Decide decide_;
  Answer answer_;
  std::vector<v1::Command> commands_;
  std::vector<std::string> takers_;
  std::vector<v1::Query> queries_;
  std::unique_ptr<bus::Bus> bus_;
  std::unique_ptr<bus::Subscription> query_subscription_;
  std::unique_ptr<bus::Subscription> metering_subscription_;
  std::unique_ptr<bus::Subscription> replication_subscription_;
  std::vector<std::unique_ptr<bus::Subscription>> command_subscriptions_;
};

v1::CommandAnswer accepted(const v1::Command& command, uint64_t position);
v1::CommandAnswer rejected(const v1::Command& command, const std::string& rule, v1::Blame blame);

}  // namespace trunkline::gateway::testing
