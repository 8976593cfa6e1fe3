#include "provisioner/domain/placement.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "provisioner/domain/conversions.h"
#include "provisioner/domain/instance_rules.h"
#include "provisioner/domain/steps.h"

namespace trunkline::provisioner {
namespace {

enum class Obstacle { none, not_registered, not_schedulable, silent, no_image, avoided, full };

// A host while this instance is being placed: what it has, and what was just chosen on it.
struct Candidate {
  const HostUse* use = nullptr;
  uint64_t cpu = 0, ram_mb = 0, disk_gb = 0;  // promised
  uint32_t own_nodes = 0;
  uint32_t next_port = kFirstPort;

  explicit Candidate(const HostUse& u)
      : use(&u), cpu(u.cpu), ram_mb(u.ram_mb), disk_gb(u.disk_gb), next_port(u.lowest_free_port) {}

  const HostState& host() const { return use->host; }
  void skip_used_ports() {
    while (next_port <= kLastPort && !use->is_port_free(next_port)) ++next_port;
  }
};

uint64_t left(uint64_t limit, uint64_t used) { return limit > used ? limit - used : 0; }

bool has_room(const Candidate& c, const Size& size) {
  const HostUse& use = *c.use;
  return c.next_port <= kLastPort && left(use.cpu_limit(), c.cpu) >= size.cpu &&
         left(use.ram_limit_mb(), c.ram_mb) >= size.ram_mb &&
         left(use.disk_limit_gb(), c.disk_gb) >= size.disk_gb &&
         use.disk_free_gb.value_or(kMinDiskFreeGb) >= kMinDiskFreeGb;
}

// Sum of the three shares that are left with the node on it, each in millionths.
uint64_t room(const Candidate& c, const Size& size) {
  constexpr uint64_t kWhole = 1'000'000;
  const auto share = [](uint64_t limit, uint64_t used) {
    return limit == 0 ? 0 : left(limit, used) * kWhole / limit;
  };
  return share(c.use->cpu_limit(), c.cpu + size.cpu) +
         share(c.use->ram_limit_mb(), c.ram_mb + size.ram_mb) +
         share(c.use->disk_limit_gb(), c.disk_gb + size.disk_gb);
}

Obstacle obstacle_of(const HostName& name, const HostUse& use, const Needs& needs, TimePoint now) {
  if (use.host.name.empty()) return Obstacle::not_registered;
  if (!use.host.schedulable) return Obstacle::not_schedulable;
  if (std::ranges::find(needs.avoid, name) != needs.avoid.end()) return Obstacle::avoided;
  if (!use.last_reported_at || now - *use.last_reported_at > kReportFresh) return Obstacle::silent;
  if (!use.host.images.contains(needs.image)) return Obstacle::no_image;
  return Obstacle::none;
}

std::string describe_lack(const Candidate& c, const Size& size) {
  const HostUse& use = *c.use;
  std::string out;
  const auto lacks = [&](const char* what, uint64_t limit, uint64_t used, uint64_t needed,
                         const char* unit) {
    if (left(limit, used) >= needed) return;
    if (!out.empty()) out += ", ";
    out += std::string(what) + " " + std::to_string(left(limit, used)) + unit + " of " +
           std::to_string(limit) + unit + " left, " + std::to_string(needed) + unit + " needed";
  };
  lacks("cpu", use.cpu_limit(), c.cpu, size.cpu, "");
  lacks("ram", use.ram_limit_mb(), c.ram_mb, size.ram_mb, " MB");
  lacks("disk", use.disk_limit_gb(), c.disk_gb, size.disk_gb, " GB");
  if (out.empty() && c.next_port > kLastPort) return "no port left";
  if (out.empty()) {
    return "its disk has " + std::to_string(use.disk_free_gb.value_or(0)) + " GB free, " +
           std::to_string(kMinDiskFreeGb) + " GB must be";
  }
  return out;
}

// Why each host is out, for a person to read.
class Report {
 public:
  void add(Obstacle obstacle, const HostName& host, const std::string& why) {
    ++counts_[obstacle];
    if (lines_++ >= kMaxLines) return;
    text_ += (text_.empty() ? "" : "; ") + host.str() + ": " + why;
  }
  bool has(Obstacle obstacle) const { return counts_.contains(obstacle); }

  NoPlacement failure(const Needs& needs) const {
    const auto nodes = std::to_string(needs.count) + (needs.count == 1 ? " node" : " nodes");
    NoPlacement out;
    out.may_pass = has(Obstacle::silent) || counts_.empty() || has(Obstacle::not_registered);
    out.failure.code = has(Obstacle::full)               ? "no_capacity"
                       : has(Obstacle::silent)           ? "hosts_silent"
                       : has(Obstacle::no_image)         ? "no_host_for_image"
                       : has(Obstacle::avoided)          ? "no_capacity"
                       : has(Obstacle::not_schedulable)  ? "no_schedulable_host"
                                                         : "no_hosts";
    out.failure.message = "no place for " + nodes + " with image " + needs.image + ": " +
                          (counts_.empty() ? "no host has registered" : text_);
    if (lines_ > kMaxLines) {
      out.failure.message += "; and " + std::to_string(lines_ - kMaxLines) + " more hosts";
    }
    return out;
  }

 private:
  static constexpr size_t kMaxLines = 10;
  std::map<Obstacle, size_t> counts_;
  size_t lines_ = 0;
  std::string text_;
};

std::string describe(Obstacle obstacle, const HostUse& use, const Needs& needs, TimePoint now) {
  switch (obstacle) {
    case Obstacle::none:
    case Obstacle::full: return "";
    case Obstacle::not_registered: return "has not registered";
    case Obstacle::not_schedulable: return "taken out by an administrator";
    case Obstacle::avoided: return "failed a node of this instance";
    case Obstacle::no_image: return "does not have " + needs.image;
    case Obstacle::silent: break;
  }
  if (!use.last_reported_at) return "has not reported yet";
  const auto silent = std::chrono::duration_cast<seconds>(now - *use.last_reported_at);
  return "silent for " + std::to_string(silent.count()) + " s";
}

std::map<std::string, uint32_t> count_zones(const Fleet& fleet, const Needs& needs) {
  std::map<std::string, uint32_t> zones;
  for (const HostName& name : needs.used_hosts) {
    const auto host = fleet.hosts().find(name);
    if (host != fleet.hosts().end()) ++zones[host->second.host.zone];
  }
  return zones;
}

Candidate* best(std::vector<Candidate>& candidates, const std::map<std::string, uint32_t>& zones,
                const Needs& needs, bool may_share) {
  Candidate* found = nullptr;
  const auto rank = [&](const Candidate& c) {
    const auto zone = zones.find(c.host().zone);
    return std::tuple(c.own_nodes, zone == zones.end() ? 0u : zone->second, ~room(c, needs.size));
  };
  for (Candidate& c : candidates) {
    if ((c.own_nodes > 0 && !may_share) || !has_room(c, needs.size)) continue;
    if (!found || rank(c) < rank(*found)) found = &c;
  }
  return found;
}

// The first node's place is the one whose host has the fewest primaries.
void put_primary_first(const Fleet& fleet, std::vector<Address>& places) {
  const auto primaries = [&](const Address& a) { return fleet.hosts().at(a.host).primaries; };
  const auto first = std::ranges::min_element(places, {}, primaries);
  if (first != places.end()) std::rotate(places.begin(), first, first + 1);
}

}  // namespace

PlaceOutcome place(const Fleet& fleet, const Needs& needs, TimePoint now) {
  std::vector<Candidate> candidates;
  Report report;
  size_t silent = 0;
  for (const auto& [name, use] : fleet.hosts()) {
    const Obstacle obstacle = obstacle_of(name, use, needs, now);
    if (obstacle == Obstacle::none) {
      Candidate candidate(use);
      candidate.own_nodes = static_cast<uint32_t>(std::ranges::count(needs.used_hosts, name));
      candidate.skip_used_ports();
      candidates.push_back(candidate);
      continue;
    }
    if (obstacle == Obstacle::silent) ++silent;
    report.add(obstacle, name, describe(obstacle, use, needs, now));
  }
  const size_t nodes = needs.used_hosts.size() + needs.count;
  const size_t hosts = candidates.size() + (needs.last_chance ? 0 : silent);
  const bool may_share = nodes > hosts;

  std::map<std::string, uint32_t> zones = count_zones(fleet, needs);
  std::vector<Address> out;
  while (out.size() < needs.count) {
    Candidate* c = best(candidates, zones, needs, may_share);
    if (!c) break;
    const HostState& host = c->host();
    out.push_back({host.name, host.zone, host.address, c->next_port});
    ++c->own_nodes;
    ++zones[host.zone];
    c->cpu += needs.size.cpu;
    c->ram_mb += needs.size.ram_mb;
    c->disk_gb += needs.size.disk_gb;
    ++c->next_port;
    c->skip_used_ports();
  }
  if (out.size() == needs.count) {
    if (needs.first_ordinal == 0 && needs.used_hosts.empty()) put_primary_first(fleet, out);
    return out;
  }
  for (const Candidate& c : candidates) {
    if (!has_room(c, needs.size)) {
      report.add(Obstacle::full, c.host().name, describe_lack(c, needs.size));
    } else {
      report.add(Obstacle::avoided, c.host().name, "has a node of this instance");
    }
  }
  return report.failure(needs);
}

std::optional<v1::InstanceCommand> answer_needs(Fleet& fleet, const Needs& needs, TimePoint now) {
  fleet.expire_reservations(now);
  const PlaceOutcome outcome = place(fleet, needs, now);
  v1::InstanceCommand command;
  if (const auto* none = std::get_if<NoPlacement>(&outcome)) {
    if (none->may_pass && !needs.last_chance) return std::nullopt;
    auto& c = *command.mutable_record_step_failed();
    c.set_step(std::string(step_name(Step::placing)));
    *c.mutable_failure() = to_proto(none->failure);
    return command;
  }
  const auto& addresses = std::get<std::vector<Address>>(outcome);
  fleet.reserve(needs.instance, addresses, needs.size, now + kReservationLasts);
  uint32_t ordinal = needs.first_ordinal;
  for (const Address& address : addresses) {
    auto& node = *command.mutable_place_nodes()->add_nodes();
    node.set_node_id(node_id_of(needs.instance, ordinal++).str());
    *node.mutable_address() = to_proto(address);
  }
  return command;
}

}  // namespace trunkline::provisioner
