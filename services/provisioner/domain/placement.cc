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
         size.ram_mb <= use.largest_ram_mb() &&
         left(use.ram_limit_mb(), c.ram_mb) >= size.ram_mb &&
         left(use.disk_limit_gb(), c.disk_gb) >= size.disk_gb &&
         use.disk_free_gb.value_or(kMinDiskFreeGb) >= kMinDiskFreeGb &&
         use.files_free >= use.min_files_free();
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

// What one more node of this size lacks on a host.
struct Lack {
  uint64_t cpu = 0, ram_mb = 0, disk_gb = 0;

  // How far it is from fitting.
  double of(const Size& size) const {
    const auto share = [](uint64_t lacks, uint32_t needed) {
      return needed == 0 ? 0.0 : static_cast<double>(lacks) / needed;
    };
    return share(cpu, size.cpu) + share(ram_mb, size.ram_mb) + share(disk_gb, size.disk_gb);
  }
  std::string text() const {
    std::string out;
    const auto add = [&](const char* what, uint64_t lacks, const char* unit) {
      if (lacks == 0) return;
      out += (out.empty() ? "" : ", ") + std::string(what) + " " + std::to_string(lacks) + unit;
    };
    add("cpu", cpu, "");
    add("ram", ram_mb, " MB");
    add("disk_size", disk_gb, " GB");
    return out;
  }
};

Lack lack_of(const Candidate& c, const Size& size) {
  const HostUse& use = *c.use;
  const uint64_t ram_mb = std::min(left(use.ram_limit_mb(), c.ram_mb), use.largest_ram_mb());
  return {.cpu = left(size.cpu, left(use.cpu_limit(), c.cpu)),
          .ram_mb = left(size.ram_mb, ram_mb),
          .disk_gb = left(size.disk_gb, left(use.disk_limit_gb(), c.disk_gb))};
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
  if (out.empty() && size.ram_mb > use.largest_ram_mb()) {
    return "its memory is " + std::to_string(use.largest_ram_mb()) + " MB, one node needs " +
           std::to_string(size.ram_mb) + " MB";
  }
  if (out.empty() && c.next_port > kLastPort) return "no port left";
  if (out.empty() && use.files_free < use.min_files_free()) {
    return "its disk has room for " + std::to_string(use.files_free) + " more files, " +
           std::to_string(use.min_files_free()) + " must be";
  }
  if (out.empty()) {
    return "its disk has " + std::to_string(use.disk_free_gb.value_or(0)) + " GB free, " +
           std::to_string(kMinDiskFreeGb) + " GB must be";
  }
  return out;
}

// Why each host is out, for a person to read.
class Report {
 public:
  void add(const Candidate& full, const Size& size) { add(full, size, lack_of(full, size)); }
  void add(const Candidate& full, const Size& size, const Lack& lack) {
    add(Obstacle::full, full.host().name, describe_lack(full, size));
    if (!least_ || lack.of(size) < least_->of(size)) least_ = lack;
  }
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
    const std::string no_place = "no place for " + nodes + " with image " + needs.image + ": ";
    out.failure.message = no_place + missing(out.failure.code);
    out.by_host = no_place + (counts_.empty() ? "no host has registered" : text_);
    if (lines_ > kMaxLines) {
      out.by_host += "; and " + std::to_string(lines_ - kMaxLines) + " more hosts";
    }
    return out;
  }

 private:
  static constexpr size_t kMaxLines = 10;

  std::string missing(const std::string& code) const {
    if (code == "hosts_silent") return "hosts are not reporting at the moment";
    if (code == "no_host_for_image") return "no host has the image";
    if (code == "no_schedulable_host") return "no host takes new nodes at the moment";
    if (code == "no_hosts") return "no host has registered";
    const std::string lacks = least_ ? least_->text() : "";
    return lacks.empty() ? "not enough hosts have room" : "for a node there is missing " + lacks;
  }

  std::map<Obstacle, size_t> counts_;
  size_t lines_ = 0;
  std::string text_;
  std::optional<Lack> least_;
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
  const bool may_share = nodes > hosts && !needs.spreads;

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
      report.add(c, needs.size);
    } else {
      report.add(Obstacle::avoided, c.host().name, "has a node of this instance");
    }
  }
  return report.failure(needs);
}

std::optional<v1::InstanceCommand> answer_needs(Fleet& fleet, const Needs& needs, TimePoint now) {
  fleet.expire_reservations(now);
  if (needs.spreads && fleet.moving() >= kMaxSpreading) return std::nullopt;
  fleet.release(needs.instance);
  const PlaceOutcome outcome = place(fleet, needs, now);
  v1::InstanceCommand command;
  if (const auto* none = std::get_if<NoPlacement>(&outcome)) {
    if (needs.spreads || (none->may_pass && !needs.last_chance)) return std::nullopt;
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

std::optional<NoPlacement> hold_order(Fleet& fleet, const Needs& needs, TimePoint now) {
  fleet.expire_reservations(now);
  const PlaceOutcome outcome = place(fleet, needs, now);
  if (const auto* none = std::get_if<NoPlacement>(&outcome)) {
    const bool never_fits = none->failure.code == "no_capacity" && !none->may_pass;
    return never_fits ? std::optional(*none) : std::nullopt;
  }
  fleet.reserve(needs.instance, std::get<std::vector<Address>>(outcome), needs.size,
                now + kReservationLasts);
  return std::nullopt;
}

std::optional<NoPlacement> hold_growth(Fleet& fleet, const InstanceState& instance, const Size& to,
                                       uint32_t nodes_number, TimePoint now) {
  fleet.expire_reservations(now);
  fleet.release(instance.id);
  const Size& from = instance.spec.size;
  const Size more{.cpu = to.cpu > from.cpu ? to.cpu - from.cpu : 0,
                  .ram_mb = to.ram_mb > from.ram_mb ? to.ram_mb - from.ram_mb : 0,
                  .disk_gb = to.disk_gb > from.disk_gb ? to.disk_gb - from.disk_gb : 0};
  std::vector<std::pair<HostName, Size>> held;
  Needs needs{.instance = instance.id, .first_ordinal = instance.nodes_placed, .count = 0,
              .size = to, .image = instance.spec.image, .used_hosts = {}, .avoid = {}};
  Report report;
  std::map<HostName, Candidate> candidates;
  for (const Node& node : instance.nodes) {
    if (!node.is_wanted()) continue;
    needs.used_hosts.push_back(node.address.host);
    const auto use = fleet.hosts().find(node.address.host);
    if (more == Size{} || use == fleet.hosts().end() || use->second.host.name.empty()) continue;
    Candidate& c = candidates.try_emplace(node.address.host, use->second).first->second;
    const bool too_large = more.ram_mb > 0 && to.ram_mb > use->second.largest_ram_mb();
    if (!has_room(c, more) || too_large) {
      Lack lack = lack_of(c, more);
      if (too_large) {
        lack.ram_mb = std::max(lack.ram_mb, to.ram_mb - use->second.largest_ram_mb());
      }
      report.add(c, too_large ? to : more, lack);
      ++needs.count;
    }
    c.cpu += more.cpu;
    c.ram_mb += more.ram_mb;
    c.disk_gb += more.disk_gb;
    held.emplace_back(node.address.host, more);
  }
  if (needs.count > 0) return report.failure(needs);
  fleet.hold_growth(instance.id, held, now + kReservationLasts);
  const auto wanted = static_cast<uint32_t>(needs.used_hosts.size());
  if (nodes_number <= wanted || nodes_number <= instance.spec.nodes_number) return std::nullopt;
  needs.count = nodes_number - wanted;
  const auto none = hold_order(fleet, needs, now);
  if (none) fleet.release(instance.id);
  return none;
}

}  // namespace trunkline::provisioner
