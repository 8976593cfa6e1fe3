// The provisioner's aggregates as the command shell takes them.
#pragma once

#include <string>

#include "provisioner/domain/host_aggregate.h"
#include "provisioner/domain/instance_decide.h"
#include "provisioner/domain/instance_evolve.h"
#include "provisioner/domain/quota_aggregate.h"
#include "provisioner/domain/token_aggregate.h"
#include "provisioner/domain/version_aggregate.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::provisioner {

// One aggregate out of its names: all are decided and folded by overloads.
template <class StateOf, class IdOf, class CommandOf, class EventOf, class FactsOf>
struct AggregateOf {
  using State = StateOf;
  using Command = CommandOf;
  using Event = EventOf;
  using Facts = FactsOf;
  static State initial(const std::string& uuid) { return State(IdOf(uuid)); }
  static Decision<Event> decide(const State& state, const Command& command, const Facts& facts,
                                TimePoint now) {
    return provisioner::decide(state, command, facts, now);
  }
  static void evolve(State& state, const Event& event, TimePoint recorded_at) {
    provisioner::evolve(state, event, recorded_at);
  }
};

struct InstanceAggregate : AggregateOf<InstanceState, InstanceId, v1::InstanceCommand,
                                       v1::InstanceEvent, InstanceFacts> {
  static constexpr const char* kName = "instance";
};
struct HostAggregate
    : AggregateOf<HostState, std::string, v1::HostCommand, v1::HostEvent, HostFacts> {
  static constexpr const char* kName = "host";
};
struct VersionAggregate
    : AggregateOf<VersionState, VersionId, v1::VersionCommand, v1::VersionEvent, VersionFacts> {
  static constexpr const char* kName = "version";
};
struct TokenAggregate
    : AggregateOf<TokenState, std::string, v1::TokenCommand, v1::TokenEvent, TokenFacts> {
  static constexpr const char* kName = "token";
};

struct QuotaAggregate
    : AggregateOf<QuotaState, std::string, v1::QuotaCommand, v1::QuotaEvent, QuotaFacts> {
  static constexpr const char* kName = "quota";
};

}  // namespace trunkline::provisioner
