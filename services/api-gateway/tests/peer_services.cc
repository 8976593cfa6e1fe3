#include "api-gateway/tests/peer_services.h"

#include "base/digest.h"
#include "bus/streams.h"

namespace trunkline::gateway::testing {

PeerServices::PeerServices(const std::string& nats_url) {
  bus_ = bus::Bus::connect({nats_url, "test", "test", "peer"}, std::chrono::seconds(5));
  bus::ensure_command_stream(*bus_);
  query_subscription_ = bus_->subscribe(
      bus::kLookupSubject, [this](bus::Message&& message) { answer_query(message); }, "lookup");
  metering_subscription_ = bus_->subscribe(
      bus::kMeteringSubject, [this](bus::Message&& message) { answer_query(message); }, "metering");
  replication_subscription_ = bus_->subscribe(
      bus::kReplicationSubject, [this](bus::Message&& message) { answer_query(message); },
      "replication");
  for (const std::string service : {"provisioner", "replication", "metering"}) {
    bus::ensure_command_consumer(*bus_, service);
    command_subscriptions_.push_back(bus_->subscribe(
        bus::command_delivery_subject(service),
        [this, service](bus::Message&& message) { answer_command(service, message); }, service));
  }
  // The server has all subscriptions once it answers on this connection.
  bus_->jetstream_api("STREAM.INFO.TL_CMD", "");
}

void PeerServices::put(v1::Kind kind, const std::string& uuid, const std::string& document,
                       const std::string& project) {
  const std::lock_guard lock(mutex_);
  documents_[{kind, uuid}] = {document, project};
}

void PeerServices::remove(v1::Kind kind, const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  documents_.erase({kind, uuid});
}

void PeerServices::put_token(const std::string& token, const std::string& document) {
  const std::lock_guard lock(mutex_);
  tokens_[hex(sha256(token))] = document;
}

void PeerServices::remove_token(const std::string& token) {
  const std::lock_guard lock(mutex_);
  tokens_.erase(hex(sha256(token)));
}

void PeerServices::on_command(Decide decide) {
  const std::lock_guard lock(mutex_);
  decide_ = std::move(decide);
}

void PeerServices::on_query(Answer answer) {
  const std::lock_guard lock(mutex_);
  answer_ = std::move(answer);
}

std::vector<v1::Command> PeerServices::commands() {
  const std::lock_guard lock(mutex_);
  return commands_;
}

std::vector<std::string> PeerServices::takers() {
  const std::lock_guard lock(mutex_);
  return takers_;
}

std::vector<v1::Query> PeerServices::queries() {
  const std::lock_guard lock(mutex_);
  return queries_;
}

bool PeerServices::await_commands(size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20),
                           [&] { return commands_.size() >= count; });
}

v1::QueryAnswer PeerServices::from_documents(const v1::Query& query) {
  v1::QueryAnswer answer;
  answer.set_status(v1::QUERY_STATUS_NOT_FOUND);
  if (query.has_find_token()) {
    const auto found = tokens_.find(query.find_token().sha256());
    if (found == tokens_.end()) return answer;
    answer.set_status(v1::QUERY_STATUS_OK);
    answer.add_json(found->second);
    return answer;
  }
  const auto visible = [&](const Document& document) {
    return query.scope().all_projects() || document.project.empty() ||
           document.project == query.scope().project_id();
  };
  if (query.has_get_resource()) {
    const auto found =
        documents_.find({query.get_resource().kind(), query.get_resource().uuid()});
    if (found == documents_.end() || !visible(found->second)) return answer;
    answer.set_status(v1::QUERY_STATUS_OK);
    answer.add_json(found->second.json);
    return answer;
  }
  answer.set_status(v1::QUERY_STATUS_OK);
  for (const auto& [key, document] : documents_) {
    if (query.has_list_resources() && key.first == query.list_resources().kind() &&
        visible(document)) {
      answer.add_json(document.json);
    }
  }
  return answer;
}

void PeerServices::answer_query(const bus::Message& message) {
  v1::Query query;
  query.ParseFromString(message.data);
  std::optional<v1::QueryAnswer> answer;
  {
    const std::lock_guard lock(mutex_);
    queries_.push_back(query);
    answer = answer_ && !query.has_find_token() ? answer_(query) : from_documents(query);
    if (!answer) return;
  }
  bus_->publish(message.reply, answer->SerializeAsString());
}

void PeerServices::answer_command(const std::string& service, const bus::Message& message) {
  bus::ack(*bus_, message);
  v1::Command command;
  command.ParseFromString(message.data);
  std::optional<v1::CommandAnswer> answer;
  {
    const std::lock_guard lock(mutex_);
    commands_.push_back(command);
    takers_.push_back(service);
    if (decide_) answer = decide_(command);
  }
  changed_.notify_all();
  const auto inbox = message.headers.find(bus::kAnswerToHeader);
  if (answer && inbox != message.headers.end()) {
    bus_->publish(inbox->second, answer->SerializeAsString());
  }
}

v1::CommandAnswer accepted(const v1::Command& command, uint64_t position) {
  v1::CommandAnswer answer;
  answer.set_command_id(command.command_id());
  answer.mutable_accepted()->set_position(position);
  answer.mutable_accepted()->set_version(1);
  return answer;
}

v1::CommandAnswer rejected(const v1::Command& command, const std::string& rule, v1::Blame blame) {
  v1::CommandAnswer answer;
  answer.set_command_id(command.command_id());
  answer.mutable_rejected()->set_rule(rule);
  answer.mutable_rejected()->set_message("refused: " + rule);
  answer.mutable_rejected()->set_blame(blame);
  return answer;
}

}  // namespace trunkline::gateway::testing
