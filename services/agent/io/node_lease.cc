// Leases of a primary on their way to its keeper, and probes of a standby's upstream.
#include <netinet/in.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "agent/io/node_actor.h"
#include "agent/io/upstream_probe.h"

namespace trunkline::agent {
namespace {

constexpr std::chrono::milliseconds kProbeTime{400};
// A control plane that is there has granted a lease, or ended the role, long before.
constexpr std::chrono::seconds kLeaseOverdue{5};

}  // namespace

void NodeActor::grant(uint64_t term, int64_t until_ms) {
  {
    const std::lock_guard lock(lease_mutex_);
    if (term < lease_term_ || (term == lease_term_ && until_ms <= lease_until_ms_)) return;
    lease_term_ = term;
    lease_until_ms_ = until_ms;
  }
  tell_keeper(paths_.control, "lease " + std::to_string(term) + " " + std::to_string(until_ms));
  if (!lease_awaited_) return;
  const uint64_t one = 1;
  if (::write(wake_fd_.get(), &one, sizeof one) < 0) return;
}

// A primary's data is never let out of its guard by a role that does not speak of voters.
std::optional<Guard> NodeActor::wanted_guard() const {
  if (!manifest_.role) return std::nullopt;
  const RoleSpec& role = *manifest_.role;
  if (role.role != NodeRole::primary) {
    if (seen_.data == DataState::standby) return Guard{};
    return std::nullopt;
  }
  Guard guard;
  if (role.sync_candidates.empty()) return guard;
  guard.term = role.term;
  guard.need = std::max<uint32_t>(role.sync_number, 1);
  for (const auto& id : role.sync_candidates) {
    if (!guard.voters.empty()) guard.voters += ',';
    guard.voters += id;
  }
  return guard;
}

std::string NodeActor::guard_words(const Guard& guard) const {
  if (!guard.on()) return "none";
  int64_t until = 0;
  {
    const std::lock_guard lock(lease_mutex_);
    if (lease_term_ == guard.term) until = lease_until_ms_;
  }
  return std::to_string(guard.term) + " " + std::to_string(until) + " " +
         std::to_string(guard.need) + " " + guard.voters;
}

void NodeActor::observe_lease() {
  const std::optional<Guard> wanted = wanted_guard();
  const Guard has = keeper_ ? keeper_->guard : Guard{};
  const int64_t now = boot_ms();
  {
    const std::lock_guard lock(lease_mutex_);
    guard_term_ = has.term;
    served_until_ms_ = has.on() ? keeper_->lease_until_ms : 0;
    const bool granted =
        manifest_.role && lease_term_ == manifest_.role->term && lease_until_ms_ > now;
    const bool kept = manifest_.role && has.on() && has.term == manifest_.role->term &&
                      keeper_->lease_until_ms > now;
    seen_.lease_held = !wanted || !wanted->on() || granted || kept;
  }
  seen_.guard_differs = keeper_ && wanted && *wanted != has;
  seen_.keeper_fenced = keeper_ && keeper_->state == "fenced";
  seen_.keeper_closed = keeper_ && keeper_->state == "closed";
  seen_.keeper_held = keeper_ && keeper_->held;
  lease_awaited_ = (seen_.guard_differs && !seen_.lease_held) || seen_.keeper_fenced ||
                   seen_.keeper_closed;
  if (!seen_.keeper_fenced) {
    fenced_since_.reset();
  } else if (!fenced_since_) {
    fenced_since_ = Clock::now();
  }
  seen_.lease_overdue = fenced_since_ && Clock::now() - *fenced_since_ >= kLeaseOverdue;
}

void NodeActor::set_guard() {
  const Guard guard = wanted_guard().value_or(Guard{});
  std::string reply;
  if (ask_keeper(paths_.control, "guard " + guard_words(guard), &reply) != KeeperAnswer::ok) {
    throw std::runtime_error("the keeper does not answer");
  }
  if (reply != "ok") {
    spdlog::debug("node {}: the keeper keeps its guard: {}", manifest_.node_id, reply);
    wait(std::chrono::milliseconds(20));
  }
}

void NodeActor::start_closed() {
  if (seen_.files_differ) write_files(paths_.data);
  std::string reply;
  if (ask_keeper(paths_.control, "start closed", &reply) != KeeperAnswer::ok) {
    throw std::runtime_error("the keeper does not answer");
  }
  fenced_since_.reset();
}

// One at a time, beside the node's thread.
void NodeActor::probe(uint64_t probe_id) {
  const std::lock_guard lock(lease_mutex_);
  if (probe_running_ || probe_id <= probe_answered_id_ || probe_target_.port == 0) return;
  probe_running_ = true;
  probe_id_ = probe_id;
  probing_ = std::async(std::launch::async, [this, target = probe_target_, probe_id] {
    const bool answered = postmaster_answers(target, kProbeTime);
    {
      const std::lock_guard inner(lease_mutex_);
      probe_running_ = false;
      probe_answered_id_ = probe_id;
      probe_answered_ = answered;
    }
    context_.report_changed();
  });
}

}  // namespace trunkline::agent
