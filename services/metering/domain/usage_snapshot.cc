#include "metering/domain/usage_snapshot.h"

#include <algorithm>

namespace trunkline::metering {
namespace {

using Snapshot = v1::UsageSnapshot;

template <class Repeated>
void save(const Amounts& amounts, Repeated* out) {
  if (!is_zero(amounts)) out->Add(amounts.begin(), amounts.end());
}

template <class Repeated>
bool load(const Repeated& from, Amounts* amounts) {
  if (from.empty()) return true;
  if (static_cast<size_t>(from.size()) != kMeters) return false;
  std::copy(from.begin(), from.end(), amounts->begin());
  return true;
}

void save(const Account& account, Snapshot::Account* out) {
  save(account.rate, out->mutable_rate());
  out->set_accounted_ms(account.accounted_ms);
  for (const Piece& piece : account.pieces) {
    auto* to = out->add_pieces();
    to->set_from_ms(piece.from_ms);
    to->set_to_ms(piece.to_ms);
    to->set_is_rate(piece.is_rate);
    save(piece.amounts, to->mutable_amounts());
    save(piece.given, to->mutable_given());
    to->set_next_ms(piece.next_ms);
  }
}

bool load(const Snapshot::Account& from, Account* account) {
  bool is_sound = load(from.rate(), &account->rate);
  account->accounted_ms = from.accounted_ms();
  for (const auto& saved : from.pieces()) {
    Piece piece{saved.from_ms(), saved.to_ms(), saved.is_rate(), {}, {}, saved.next_ms()};
    is_sound &= load(saved.amounts(), &piece.amounts) && load(saved.given(), &piece.given);
    account->pieces.push_back(piece);
  }
  return is_sound;
}

void save(const std::string& id, const InstanceState& instance, Snapshot::Instance* out) {
  out->set_instance_id(id);
  out->set_project_id(instance.project_id);
  out->set_name(instance.name);
  out->set_status(static_cast<uint32_t>(instance.status));
  out->set_created_ms(instance.created_ms);
  if (instance.ended_ms) out->set_ended_ms(*instance.ended_ms);
  out->set_last_ms(instance.last_ms);
  for (const SizeVersion& ordered : instance.sizes) {
    auto* size = out->add_sizes();
    size->set_version(ordered.version);
    size->set_cpu(ordered.size.cpu);
    size->set_ram_mb(ordered.size.ram_mb);
    size->set_disk_gb(ordered.size.disk_gb);
  }
  for (const NodeState& node : instance.nodes) {
    auto* to = out->add_nodes();
    to->set_node_id(node.id);
    to->set_host(node.host);
    if (node.created_ms) to->set_created_ms(*node.created_ms);
    if (node.ended_ms) to->set_ended_ms(*node.ended_ms);
    to->set_is_gone(node.is_gone);
    to->set_is_replacement(node.is_replacement);
    to->set_generation(node.generation);
    save(node.account, to->mutable_account());
  }
  for (const std::string& source : instance.gone) out->add_gone(source);
  save(instance.account, out->mutable_account());
}

bool load(const Snapshot::Instance& from, InstanceState* instance) {
  instance->project_id = from.project_id();
  instance->name = from.name();
  if (from.status() > static_cast<uint32_t>(InstanceStatus::error)) return false;
  instance->status = static_cast<InstanceStatus>(from.status());
  instance->created_ms = from.created_ms();
  if (from.has_ended_ms()) instance->ended_ms = from.ended_ms();
  instance->last_ms = from.last_ms();
  for (const auto& size : from.sizes()) {
    instance->sizes.push_back({size.version(), {size.cpu(), size.ram_mb(), size.disk_gb()}});
  }
  bool is_sound = true;
  for (const auto& saved : from.nodes()) {
    NodeState node;
    node.id = saved.node_id();
    node.host = saved.host();
    if (saved.has_created_ms()) node.created_ms = saved.created_ms();
    if (saved.has_ended_ms()) node.ended_ms = saved.ended_ms();
    node.is_gone = saved.is_gone();
    node.is_replacement = saved.is_replacement();
    node.generation = saved.generation();
    is_sound &= load(saved.account(), &node.account);
    instance->nodes.push_back(std::move(node));
  }
  instance->gone.insert(from.gone().begin(), from.gone().end());
  return load(from.account(), &instance->account) && is_sound;
}

void save(const std::string& id, const SourceState& source, Snapshot::Source* out) {
  out->set_source_id(id);
  out->set_version(source.version);
  out->set_last_ms(source.last_ms);
  for (const auto& [item_id, item] : source.items) {
    auto* to = out->add_items();
    to->set_id(item_id);
    to->set_instance_id(item.instance_id);
    to->set_is_node(item.is_node);
    to->set_from_ms(item.from_ms);
    to->set_used_mb(item.used_mb);
    for (const EpochCounters& counters : item.epochs) {
      auto* epoch = to->add_epochs();
      epoch->set_epoch(counters.epoch);
      epoch->mutable_total()->Add(counters.total.begin(), counters.total.end());
    }
  }
}

bool load(const Snapshot::Source& from, SourceState* source) {
  source->version = from.version();
  source->last_ms = from.last_ms();
  for (const auto& saved : from.items()) {
    SourceItem& item = source->items[saved.id()];
    item.instance_id = saved.instance_id();
    item.is_node = saved.is_node();
    item.from_ms = saved.from_ms();
    item.used_mb = saved.used_mb();
    for (const auto& epoch : saved.epochs()) {
      EpochCounters counters{epoch.epoch(), {}};
      if (static_cast<size_t>(epoch.total_size()) != counters.total.size()) return false;
      std::copy(epoch.total().begin(), epoch.total().end(), counters.total.begin());
      item.epochs.push_back(std::move(counters));
    }
  }
  return true;
}

}  // namespace

void save(const UsageState& state, v1::UsageSnapshot* snapshot) {
  snapshot->set_position(state.position);
  for (const auto& stretch : state.grid.stretches()) {
    auto* to = snapshot->add_grid();
    to->set_from_ms(stretch.from_ms);
    to->set_length_ms(stretch.length_ms);
  }
  snapshot->set_closed_until_ms(state.closed_until_ms);
  snapshot->set_closed_position(state.closed_position);
  snapshot->set_windows_version(state.windows_version);
  for (const auto& [id, instance] : state.instances) save(id, instance, snapshot->add_instances());
  for (const auto& [id, source] : state.sources) save(id, source, snapshot->add_sources());
}

std::optional<UsageState> load(const v1::UsageSnapshot& snapshot) {
  UsageState state;
  state.position = snapshot.position();
  std::vector<WindowGrid::Stretch> grid;
  for (const auto& stretch : snapshot.grid()) {
    if (stretch.length_ms() <= 0) return std::nullopt;
    grid.push_back({stretch.from_ms(), stretch.length_ms()});
  }
  state.grid = WindowGrid(std::move(grid));
  state.closed_until_ms = snapshot.closed_until_ms();
  state.closed_position = snapshot.closed_position();
  state.windows_version = snapshot.windows_version();
  for (const auto& instance : snapshot.instances()) {
    InstanceState& to = state.instances[instance.instance_id()];
    if (!load(instance, &to)) return std::nullopt;
    for (const NodeState& node : to.nodes) {
      state.instance_of_node[node.id] = instance.instance_id();
    }
  }
  for (const auto& source : snapshot.sources()) {
    if (!load(source, &state.sources[source.source_id()])) return std::nullopt;
  }
  return state;
}

}  // namespace trunkline::metering
