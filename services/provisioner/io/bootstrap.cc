#include "provisioner/io/bootstrap.h"

#include <spdlog/spdlog.h>


#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/ids.h"
#include "provisioner/domain/quota_aggregate.h"

namespace trunkline::provisioner {
namespace {

constexpr auto kTryAgainAfter = std::chrono::milliseconds(200);

// Asks again until there is an answer.
class BootstrapReply : public runtime::CommandReply {
 public:
  void answer(const v1::CommandAnswer& answer) override {
    if (answer.has_rejected()) {
      spdlog::warn("bootstrap command {}: {}", answer.command_id(), answer.rejected().message());
    }
    decided_.set_value(true);
  }
  void again() override { decided_.set_value(false); }
  std::future<bool> decided() { return decided_.get_future(); }

 private:
  std::promise<bool> decided_;
};

void decide(runtime::ServiceHost& host, const v1::Command& command) {
  while (true) {
    const auto reply = std::make_shared<BootstrapReply>();
    auto decided = reply->decided();
    host.post(command.aggregate_id(), [command, reply](runtime::ShardLogic& logic) {
      logic.on_command(v1::Command(command), reply);
    });
    if (decided.get()) return;
    std::this_thread::sleep_for(kTryAgainAfter);
  }
}

v1::Command command_for(const std::string& what) {
  v1::Command command;
  command.set_aggregate_id(uuid_from_name("bootstrap/" + what));
  command.set_command_id(uuid_from_name("bootstrap command/" + what));
  command.set_correlation_id(command.command_id());
  command.set_actor("service:provisioner");
  return command;
}

// What the configuration says of it becomes the default once; what administrators say later stands.
void bootstrap_quota(runtime::ServiceHost& host, const nlohmann::json& config) {
  const auto given = config.find("default_quota");
  if (given == config.end()) return;
  const auto number = [&](const char* name, uint32_t most) {
    return given->value(name, most);
  };
  v1::Command command = command_for("quota/" + given->dump());
  command.set_aggregate_id(kDefaultQuotaId);
  auto* create = command.mutable_quota()->mutable_create_quota();
  create->set_instances(number("instances", kMaxQuotaInstances));
  create->set_cpu(number("cpu", kMaxQuotaCpu));
  create->set_ram_mb(number("ram", kMaxQuotaRamMb));
  create->set_disk_gb(number("disk_size", kMaxQuotaDiskGb));
  decide(host, command);
}

}  // namespace

void bootstrap(runtime::ServiceHost& host, const nlohmann::json& config) {
  for (const auto& version : config.value("bootstrap_versions", nlohmann::json::array())) {
    const std::string name = version.value("name", std::string());
    v1::Command command = command_for("version/" + name);
    auto* body = command.mutable_version()->mutable_create_version();
    body->set_name(name);
    body->set_description(version.value("description", std::string()));
    body->set_image(version.value("image", std::string()));
    decide(host, command);
  }
  bootstrap_quota(host, config);
  const std::string digest = config.value("admin_token_sha256", std::string());
  if (!digest.empty()) {
    v1::Command command = command_for("token/" + digest);
    auto* token = command.mutable_token()->mutable_create_token();
    token->set_sha256(digest);
    token->set_role("admin");
    token->set_name("administrator");
    decide(host, command);
  }
}

}  // namespace trunkline::provisioner
