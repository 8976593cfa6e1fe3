#include "agent/io/host_agent.h"

#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <utility>

#include "agent/domain/report_text.h"
#include "agent/io/node_log.h"
#include "agent/io/task_codec.h"
#include "agent/keeper/proc_scan.h"
#include "base/host_name.h"
#include "base/ids.h"
#include "bus/too_large.h"
#include "runtime/random.h"
#include "trunkline/v1/lease.pb.h"

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kReportEvery{400};
// How long changes are gathered, for they come in bursts: a report names every node of the host.
constexpr milliseconds kCoalesce{2};
constexpr milliseconds kLongestCoalesce{40};
constexpr uint32_t kNodesPerMs = 5;
constexpr size_t kMostEarly = 1024;
constexpr size_t kMostNodes = 10'000;
constexpr uint32_t kLongestLeaseMs = 60'000;

std::string user_name(uid_t uid) {
  std::vector<char> buffer(16384);
  struct passwd entry {};
  struct passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    throw std::runtime_error("the agent's user has no name, which PostgreSQL needs");
  }
  return found->pw_name;
}

uint64_t machine_ram_mb() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
             static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) >>
         20;
}

NodeUsersOptions users_options(const HostOptions& options, const AgentPaths& paths) {
  NodeUsersOptions out;
  out.shared_user = options.node_user;
  out.range = options.node_uids;
  out.client_group = options.client_group;
  out.library = options.library;
  if (out.library.empty()) {
    out.library = fs::path(options.keeper).parent_path() / "trunkline-node.so";
  }
  out.nodes_dir = paths.nodes_dir;
  out.counter_file = paths.host_dir + "/node-users";
  return out;
}

// What nodes must not see of the user's that they share; empty where nothing can be hidden.
std::vector<std::string> sandbox_of(const HostOptions& options, const AgentContext& context) {
  if (::geteuid() == 0) return {};
  std::vector<std::string> out = {fs::weakly_canonical(options.home),
                                  fs::weakly_canonical(options.socket_dir)};
  std::vector<char> buffer(16384);
  struct passwd entry {};
  struct passwd* found = nullptr;
  ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found);
  std::error_code error;
  const fs::path own = found != nullptr ? fs::canonical(found->pw_dir, error) : fs::path();
  // Some system users' home is a place of others.
  struct stat info {};
  if (!error && !own.empty() && ::stat(own.c_str(), &info) == 0 && info.st_uid == ::geteuid()) {
    out.push_back(own);
  }
  for (const auto& [image, programs] : options.images) {
    const std::string place = fs::weakly_canonical(programs);
    std::erase_if(out, [&](const std::string& path) { return place.starts_with(path + "/"); });
  }
  std::vector<std::string> argv = {context.keeper, "--check-sandbox", "1", "--keep",
                                   context.paths.nodes_dir};
  for (const auto& path : out) argv.insert(argv.end(), {"--hide", path});
  ChildProcess check(argv, NodeUser{}, false);
  if (!check.wait(seconds(10)) || check.exit_code() != 0) return {};
  return out;
}

}  // namespace

std::map<std::string, std::string> discover_images(const std::string& root) {
  std::map<std::string, std::string> images;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    const std::string major = entry.path().filename();
    const std::string programs = entry.path().string() + "/bin";
    if (major.find_first_not_of("0123456789") != std::string::npos) continue;
    const bool complete = exists(programs + "/postgres") && exists(programs + "/initdb") &&
                          exists(programs + "/pg_basebackup");
    if (complete) images["postgresql-" + major] = programs;
  }
  return images;
}

HostAgent::HostAgent(HostOptions options)
    : options_(std::move(options)), agent_id_(runtime::new_uuid()) {
  if (!is_host_name(options_.host)) {
    throw std::runtime_error("host: '" + options_.host + "' is not " + kHostNameRule);
  }
  context_.host = options_.host;
  context_.agent_user = user_name(::geteuid());
  context_.keeper = fs::weakly_canonical(options_.keeper);
  if (!exists(context_.keeper))
    throw std::runtime_error("keeper: " + options_.keeper + " is missing");
  context_.paths = agent_paths(options_.home, options_.host, options_.socket_dir);
  users_ = std::make_unique<NodeUsers>(users_options(options_, context_.paths));
  users_->start();
  context_.users = users_.get();
  context_.direct_clients = options_.direct_clients;
  context_.client_addresses = options_.client_addresses;
  make_agent_directories(context_.paths, *users_);
  context_.hidden = sandbox_of(options_, context_);
  apart_note_ = users_->note(!context_.hidden.empty());
  if (const std::string& note = apart_note_; !note.empty()) {
    spdlog::warn("tenants' servers are not kept apart: {}", note);
  }
  manifests_ = std::make_unique<ManifestStore>(context_.paths.manifests_dir);
  templates_ = std::make_unique<TemplateStore>(context_.paths.templates_dir, options_.images,
                                               users_->shared(), options_.spares);
  cgroups_ = std::make_unique<CgroupLimits>(
      "/sys/fs/cgroup", read_file("/proc/self/cgroup").value_or(""), context_.paths.host_dir);
  disks_ = std::make_unique<DiskWatch>(context_.paths.nodes_dir, options_.disk_reserve_mb << 20);
  context_.disks = disks_.get();
  context_.disk_unit_mb = options_.disk_unit_mb;
  context_.manifests = manifests_.get();
  context_.templates = templates_.get();
  context_.cgroups = cgroups_.get();
  context_.report_changed = [this] { notify(); };
  obeyed_position_ = std::strtoll(read_file(obeyed_path()).value_or("0").c_str(), nullptr, 10);
  obeyed_kept_ = obeyed_position_;
  const DiskAmount total = disks_->file_system().total;
  shown_disk_size_.set(static_cast<double>(total.bytes));
  shown_files_.set(static_cast<double>(total.files));
  if (options_.cpu == 0) options_.cpu = std::max(1u, std::thread::hardware_concurrency());
  if (options_.ram_mb == 0) options_.ram_mb = machine_ram_mb();
  context_.host_ram_mb = options_.ram_mb;
  cgroups_->limit_host(std::min(options_.ram_mb, machine_ram_mb()));
  if (options_.disk_gb == 0) options_.disk_gb = total.bytes >> 30;
  if (!cgroups_->enforced()) spdlog::warn("no cpu and memory limits: {}", cgroups_->note());
}

HostAgent::~HostAgent() {
  stop();
}

void HostAgent::stop() {
  hook_.reset();
  stats_.reset();  // before the nodes go: one that is not there any more is forgotten
  {
    const std::lock_guard lock(wake_mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (reporter_.joinable()) reporter_.join();
  templates_->stop();
  std::map<std::string, std::unique_ptr<NodeActor>> nodes;
  {
    const std::lock_guard lock(mutex_);
    nodes.swap(nodes_);
    stopped_ = true;
  }
  nodes.clear();
}

void HostAgent::start(SendReport send) {
  send_ = std::move(send);
  templates_->start([this] { return disks_->host() == HostRoom::enough; });
  sweep();
  {
    const std::lock_guard lock(mutex_);
    for (auto& manifest : manifests_->read_all()) {
      const std::string id = manifest.node_id;
      nodes_[id] = std::make_unique<NodeActor>(context_, std::move(manifest));
    }
    // Directories that nobody has assigned are reported, so that they can be removed.
    for (const auto& entry : fs::directory_iterator(context_.paths.nodes_dir)) {
      const std::string id = entry.path().filename();
      if (!is_uuid(id) || nodes_.contains(id)) continue;
      Manifest unknown;
      unknown.node_id = id;
      nodes_[id] = std::make_unique<NodeActor>(context_, unknown);
    }
    for (auto& [id, node] : nodes_) node->start();
  }
  reporter_ = std::thread([this] { run_reports(); });
  hook_ = std::make_unique<telemetry::ScrapeHook>([this] { show_metrics(); });
}

void HostAgent::start_stats(StatsCollector::Send send, milliseconds interval) {
  stats_ = std::make_unique<StatsCollector>(
      context_, agent_id_, [this] { return node_reports(); }, std::move(send), interval);
}

std::vector<v1::NodeReport> HostAgent::node_reports() {
  const std::lock_guard lock(mutex_);
  std::vector<v1::NodeReport> out;
  for (const auto& [id, node] : nodes_) out.push_back(node->report());
  return out;
}

void HostAgent::show_metrics() {
  std::map<std::string_view, double> states = {
      {"open", 0}, {"recovering", 0}, {"starting", 0}, {"stopped", 0}, {"quarantined", 0}};
  double failing = 0, guarded = 0, lease = -1, full = 0, restarts = 0;
  for (const auto& node : node_reports()) {
    switch (node.postgres()) {
      case v1::POSTGRES_STATE_OPEN:
        ++states["open"];
        break;
      case v1::POSTGRES_STATE_RECOVERING:
        ++states["recovering"];
        break;
      case v1::POSTGRES_STATE_STARTING:
        ++states["starting"];
        break;
      default:
        ++states[node.quarantined() ? "quarantined" : "stopped"];
    }
    for (const auto* task : {&node.ensure(), &node.role(), &node.objects(), &node.remove()}) {
      if (task->state() != v1::TASK_STATE_FAILED) continue;
      ++failing;
      break;
    }
    if (node.ensure().failure().code() == "disk_full") ++full;
    restarts += static_cast<double>(node.restarts());
    if (node.reported_role() != v1::ROLE_PRIMARY || node.lease_ms() == 0) continue;
    ++guarded;
    const double left = node.lease_ms() / 1000.0;
    if (lease < 0 || left < lease) lease = left;
  }
  for (const auto& [state, count] : states) shown_nodes_.set({state}, count);
  shown_failed_.set(failing);
  shown_guarded_.set(guarded);
  shown_lease_.set(lease);
  shown_full_.set(full);
  const DiskAmount free = disks_->file_system().free;
  shown_disk_.set(static_cast<double>(free.bytes));
  shown_files_free_.set(static_cast<double>(free.files));
  shown_restarts_.set(restarts);
}

// Leftovers of removals that were interrupted.
void HostAgent::sweep() {
  for (const auto& entry : fs::directory_iterator(context_.paths.nodes_dir)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(".trash-")) continue;
    try {
      users_->remove_home(entry.path());
    } catch (const std::exception& e) {
      spdlog::warn("{}: {}", name, e.what());
    }
  }
}

void HostAgent::on_task(const std::string& bytes) {
  v1::Task task;
  if (!task.ParseFromString(bytes)) {
    spdlog::warn("a task that cannot be read ({} bytes)", bytes.size());
    return;
  }
  std::string node_id;
  std::string error;
  auto assignment = read_task(task, &node_id, &error);
  if (!assignment) {
    spdlog::warn("task {} refused: {}", task.task_id().substr(0, 100), error);
    return;
  }
  const std::lock_guard lock(mutex_);
  if (stopped_ || !obeys(task)) return;
  if (NodeActor* node = node_for(node_id, *assignment)) node->assign(std::move(*assignment));
}

// A log that was set back does not know of what came after: nothing is removed by its word.
bool HostAgent::obeys(const v1::Task& task) {
  const int64_t position = task.log_position();
  if (position <= 0) return true;  // of a sender that does not say
  if (!task.has_remove_node() || position >= obeyed_position_) {
    obeyed_position_ = std::max(obeyed_position_, position);
    return true;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - refused_at_ > seconds(10)) {
    spdlog::error("node {} is not removed: the log that says so ends at position {}, and this host "
                  "has obeyed one that came to {}",
                  task.node_id(), position, obeyed_position_);
    refused_at_ = now;
  }
  return false;
}

// Not forced to disk: it is the newest that counts, and a little less guards nearly as well.
void HostAgent::keep_obeyed_position() {
  int64_t position = 0;
  {
    const std::lock_guard lock(mutex_);
    position = obeyed_position_;
  }
  const auto now = std::chrono::steady_clock::now();
  if (position == obeyed_kept_ || now - obeyed_kept_at_ < seconds(1)) return;
  obeyed_kept_at_ = now;
  write_file_atomically(obeyed_path(), std::to_string(position), 0600, false);
  obeyed_kept_ = position;
}

void HostAgent::on_lease(const std::string& bytes) {
  v1::LeaseGrant grant;
  if (!grant.ParseFromString(bytes) || grant.agent_id() != agent_id_) return;
  const std::lock_guard lock(mutex_);
  const auto& [sequence, sent] = sent_at_[grant.sequence() % sent_at_.size()];
  if (stopped_ || sequence != grant.sequence() || sequence == 0) return;
  for (const auto& lease : grant.leases()) {
    const auto node = nodes_.find(lease.node_id());
    if (node == nodes_.end()) continue;
    node->second->grant(lease.term(), sent + std::min(lease.duration_ms(), kLongestLeaseMs));
  }
}

std::string HostAgent::on_log_request(const std::string& bytes) {
  v1::NodeLogRequest request;
  v1::NodeLogAnswer answer;
  bool known = request.ParseFromString(bytes) && is_uuid(request.node_id());
  if (known) {
    const std::lock_guard lock(mutex_);
    known = nodes_.contains(request.node_id());
  }
  if (known) {
    const auto paths = node_paths(context_.paths, request.node_id());
    answer = read_node_log(paths.log, users_->owner_of(paths.dir), request);
  }
  return answer.SerializeAsString();
}

NodeActor* HostAgent::node_for(const std::string& node_id, const Assignment& assignment) {
  const auto found = nodes_.find(node_id);
  if (found != nodes_.end()) return found->second.get();
  if (std::holds_alternative<RemoveOrder>(assignment.body)) {
    early_.erase(node_id);
    return nullptr;  // not there: the reports say so
  }
  if (std::holds_alternative<QuarantineOrder>(assignment.body) ||
      std::holds_alternative<ProbeOrder>(assignment.body) ||
      std::holds_alternative<PrepareOrder>(assignment.body)) {
    return nullptr;
  }
  if (!std::holds_alternative<EnsureSpec>(assignment.body)) {
    auto& waiting = early_[node_id];
    std::erase_if(waiting, [&](const Assignment& other) {
      return other.body.index() == assignment.body.index();
    });
    waiting.push_back(assignment);
    if (early_.size() > kMostEarly) early_.erase(early_.begin());
    return nullptr;
  }
  if (nodes_.size() >= kMostNodes) return nullptr;
  Manifest manifest;
  manifest.node_id = node_id;
  manifest.instance_id = assignment.instance_id;
  auto& node = nodes_[node_id];
  node = std::make_unique<NodeActor>(context_, std::move(manifest));
  if (auto early = early_.extract(node_id); !early.empty()) {
    for (auto& waiting : early.mapped()) node->assign(std::move(waiting));
  }
  node->start();
  return node.get();
}

void HostAgent::notify() {
  {
    const std::lock_guard lock(wake_mutex_);
    changed_ = true;
  }
  wake_.notify_all();
}

void HostAgent::run_reports() {
  std::unique_lock lock(wake_mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, kReportEvery, [this] { return changed_ || stopping_; });
    if (stopping_) break;
    if (changed_) {
      lock.unlock();
      std::this_thread::sleep_for(
          std::clamp(milliseconds(context_.nodes / kNodesPerMs), kCoalesce, kLongestCoalesce));
      lock.lock();
    }
    changed_ = false;
    lock.unlock();
    reap_finished();
    try {
      keep_obeyed_position();
      send_report();
      reports_sent_.add();
      if (std::exchange(report_lost_, false)) spdlog::info("reports are sent again");
    } catch (const std::exception& e) {
      reports_lost_.add();
      if (!std::exchange(report_lost_, true)) spdlog::warn("reports are not sent: {}", e.what());
    }
    lock.lock();
  }
}

// A host that says nothing is taken for dead: what is too large goes with fewer words.
void HostAgent::send_report() {
  v1::HostReport out = report();
  try {
    send_(out);
    if (std::exchange(report_cut_, false)) spdlog::info("reports are sent with all their words");
  } catch (const bus::MessageTooLarge& e) {
    reports_cut_.add();
    if (!std::exchange(report_cut_, true)) {
      spdlog::error("reports are sent without notes and failures' texts: {}", e.what());
    }
    leave_out_words(&out);
    send_(out);
  }
}

void HostAgent::reap_finished() {
  std::vector<std::unique_ptr<NodeActor>> finished;
  const std::lock_guard lock(mutex_);
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    if (it->second->finished()) {
      finished.push_back(std::move(it->second));
      it = nodes_.erase(it);
    } else {
      ++it;
    }
  }
  context_.nodes = static_cast<uint32_t>(nodes_.size());
}

v1::HostReport HostAgent::report() {
  const FileSystem disk = disks_->file_system();
  {
    const std::lock_guard lock(mutex_);
    ++sequence_;
    sent_at_[sequence_ % sent_at_.size()] = {sequence_, boot_ms()};
  }
  v1::HostReport out;
  out.set_host(options_.host);
  out.set_zone(options_.zone);
  out.set_address(options_.address);
  out.set_agent_id(agent_id_);
  out.set_sequence(sequence_);
  out.set_sent_unix_us(to_unix_us(runtime::now()));
  out.set_cpu(options_.cpu);
  out.set_ram_mb(options_.ram_mb);
  out.set_disk_gb(options_.disk_gb);
  out.set_disk_free_gb(disk.free.bytes >> 30);
  out.set_files(disk.total.files);
  out.set_files_free(disk.free.files);
  for (const auto& [image, programs] : options_.images) out.add_images(image);
  out.set_cgroup_limits(cgroups_->enforced());
  out.set_cgroup_note(cgroups_->note());
  out.set_nodes_apart(users_->isolates());
  out.set_nodes_apart_note(apart_note_);
  bound_texts(&out);  // nodes' are
  const std::lock_guard lock(mutex_);
  out.set_obeyed_position(obeyed_position_);
  for (const auto& [id, node] : nodes_) *out.add_nodes() = node->report();
  return out;
}

void stop_all_nodes(const HostOptions& options, milliseconds patience) {
  const AgentPaths agent = agent_paths(options.home, options.host, options.socket_dir);
  std::vector<NodePaths> nodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(agent.nodes_dir, error)) {
    if (is_uuid(entry.path().filename().string())) {
      nodes.push_back(node_paths(agent, entry.path().filename()));
    }
  }
  const NodeUsers users(users_options(options, agent));
  const auto tell = [&](const NodePaths& node, const char* request, int signal) {
    if (ask_keeper(node.control, request, nullptr) == KeeperAnswer::ok) return;
    signal_process(running_postmaster(node.data), users.owner_of(node.dir), signal);
  };
  const auto all_down = [&](milliseconds longest) {
    const auto until = std::chrono::steady_clock::now() + longest;
    while (true) {
      std::erase_if(nodes, [](const NodePaths& node) {
        return ask_keeper(node.control, "status", nullptr, 100) == KeeperAnswer::nobody &&
               postgres_processes_in(node.data).empty();
      });
      if (nodes.empty() || std::chrono::steady_clock::now() >= until) return nodes.empty();
      std::this_thread::sleep_for(milliseconds(20));
    }
  };
  for (const auto& node : nodes) tell(node, "stop fast", SIGINT);
  if (all_down(patience)) return;
  for (const auto& node : nodes) tell(node, "stop immediate", SIGQUIT);
  if (all_down(seconds(5))) return;
  for (const auto& node : nodes) {
    const NodeUser user = users.owner_of(node.dir);
    for (const pid_t pid : postgres_processes_in(node.data)) signal_process(pid, user, SIGKILL);
  }
  if (!all_down(seconds(5))) throw std::runtime_error("some nodes do not stop");
}

}  // namespace trunkline::agent
