// Makes many instances of one: its events with other ids, appended to the platform's log as their
// owners append them, and its hosts' reports and statistics with other ids, from as many pretended
// hosts as it takes, as long as the real ones tell theirs. So whoever listens has the work of a
// large platform.
// copied_fleet PROVISIONER_DSN REPLICATION_DSN NATS_URL NATS_USER PASSWORD_FILE INSTANCE COPIES
// Prints "appended <last position>" once all events are in the log, and goes on until it is killed.
// The bus's user must hear tl.report.* and tl.stats.* and may say them.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "bus/bus.h"
#include "eventlog/log.h"
#include "runtime/random.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/stats.pb.h"

namespace {

using namespace trunkline;
constexpr int kCopiesAHost = 50;
constexpr uint32_t kFirstPort = 20002;  // behind those of the instance that is copied

// Text in which words give way to others of the same length: serialised messages stay whole.
class Template {
 public:
  Template(std::string text, const std::vector<std::string>& words) : text_(std::move(text)) {
    for (size_t w = 0; w < words.size(); ++w) {
      for (size_t at = text_.find(words[w]); at != std::string::npos;
           at = text_.find(words[w], at + words[w].size())) {
        places_.emplace_back(at, w);
      }
    }
  }
  std::string with(const std::vector<std::string>& others) const {
    std::string out = text_;
    for (const auto& [at, word] : places_) out.replace(at, others[word].size(), others[word]);
    return out;
  }

 private:
  std::string text_;
  std::vector<std::pair<size_t, size_t>> places_;
};

// The names of one instance and of its copies: ids first, then hosts.
class Names {
 public:
  explicit Names(const std::string& instance) { words_ = {instance}; }
  void add_id(const std::string& id) {
    if (!id.empty() && std::ranges::find(words_, id) == words_.end()) words_.push_back(id);
  }
  void add_host(const std::string& host) {
    if (host.size() < 6) throw std::runtime_error("a host's name is too short");
    if (std::ranges::find(hosts_, host) == hosts_.end()) hosts_.push_back(host);
  }
  const std::vector<std::string>& hosts() const { return hosts_; }
  std::vector<std::string> all() const {
    std::vector<std::string> out = words_;
    out.insert(out.end(), hosts_.begin(), hosts_.end());
    return out;
  }
  std::vector<std::string> of_copy(int i) const {
    std::vector<std::string> out;
    for (const auto& word : words_) out.push_back(id_of(word, i));
    for (const auto& host : hosts_) out.push_back(host_of(host, i / kCopiesAHost));
    return out;
  }
  static std::string id_of(const std::string& id, int i) {
    return uuid_from_name("copy/" + std::to_string(i) + "/" + id);
  }
  // As long as the one that it stands for: "host-a" becomes "a-0007".
  static std::string host_of(const std::string& host, int number) {
    std::string digits = std::to_string(number);
    digits.insert(0, host.size() - 2 - std::min(host.size() - 2, digits.size()), '0');
    return std::string(1, host.back()) + "-" + digits;
  }

 private:
  std::vector<std::string> words_;
  std::vector<std::string> hosts_;
};

Names names_of(const std::string& instance,
               const std::vector<eventlog::RecordedEvent>& events) {
  Names names(instance);
  for (const auto& recorded : events) {
    v1::InstanceEvent event;
    if (!event.ParseFromString(recorded.payload)) throw std::runtime_error("not an event");
    if (event.has_node_placed()) {
      names.add_id(event.node_placed().node_id());
      names.add_host(event.node_placed().address().host());
    }
    if (event.has_user_created()) names.add_id(event.user_created().user_id());
    if (event.has_database_created()) names.add_id(event.database_created().database_id());
  }
  return names;
}

std::string with_own_name_and_ports(const std::string& payload, int i) {
  v1::InstanceEvent event;
  event.ParseFromString(payload);
  auto& created = *event.mutable_instance_created();
  created.set_name(created.name() + "-" + std::to_string(i));
  created.set_read_write_port(kFirstPort + 2 * static_cast<uint32_t>(i));
  created.set_read_only_port(created.read_write_port() + 1);
  return event.SerializeAsString();
}

class Copier {
 public:
  Copier(const std::string& aggregate, const std::string& dsn, const std::string& instance)
      : aggregate_(aggregate), instance_(instance), log_(dsn),
        events_(log_.read_stream(aggregate + "-" + instance, 0)) {}
  const std::vector<eventlog::RecordedEvent>& events() const { return events_; }
  void use(const Names& names) {
    for (const auto& event : events_) templates_.emplace_back(event.payload, names.all());
  }
  int64_t append(int i, const std::vector<std::string>& others) {
    eventlog::Log::AppendRequest request;
    request.stream = aggregate_ + "-" + Names::id_of(instance_, i);
    request.metadata.command_id = runtime::new_uuid();
    request.metadata.actor = "service:bench";
    request.record_result = false;
    for (size_t e = 0; e < events_.size(); ++e) {
      std::string payload = templates_[e].with(others);
      if (events_[e].type == "instance_created") payload = with_own_name_and_ports(payload, i);
      request.events.push_back({events_[e].type, 1, payload});
    }
    const auto outcome = log_.append(request);
    if (!outcome.appended) throw std::runtime_error("append to " + request.stream + " failed");
    return outcome.appended->last_position;
  }

 private:
  const std::string aggregate_;
  const std::string instance_;
  eventlog::Log log_;
  std::vector<eventlog::RecordedEvent> events_;
  std::vector<Template> templates_;
};

// Says for the pretended hosts what a real one has just said for itself.
template <class Whole, class Part>
void tell_copies(bus::Bus& bus, const std::string& subject, const std::string& data,
                 const Names& names, int copies) {
  Whole head;
  if (!head.ParseFromString(data)) return;
  const std::string agent = head.agent_id(), host = head.host(), own = names.all().front();
  std::vector<Template> parts;
  for (const Part& node : head.nodes()) {
    if (node.instance_id() == own) parts.emplace_back(node.SerializeAsString(), names.all());
  }
  head.clear_nodes();
  for (int number = 0; number * kCopiesAHost < copies; ++number) {
    Whole copy = head;
    copy.set_host(Names::host_of(host, number));
    copy.set_agent_id(Names::id_of(agent, number));
    const int end = std::min(copies, (number + 1) * kCopiesAHost);
    for (int i = number * kCopiesAHost; i < end; ++i) {
      const auto others = names.of_copy(i);
      for (const Template& part : parts) copy.add_nodes()->ParseFromString(part.with(others));
    }
    bus.publish(subject + copy.host(), copy.SerializeAsString());
  }
}

[[noreturn]] void run(char** argv) {
  const std::string instance = argv[6];
  const int copies = std::atoi(argv[7]);
  Copier orders("instance", argv[1], instance), groups("group", argv[2], instance);
  const Names names = names_of(instance, orders.events());
  orders.use(names);
  groups.use(names);
  std::string password;
  std::getline(std::ifstream(argv[5]), password);
  const auto bus = bus::Bus::connect({argv[3], argv[4], password, "bench"},
                                     std::chrono::seconds(10));
  std::vector<std::unique_ptr<bus::Subscription>> heard;
  for (const auto& host : names.hosts()) {
    heard.push_back(bus->subscribe("tl.report." + host, [&](bus::Message&& message) {
      tell_copies<v1::HostReport, v1::NodeReport>(*bus, "tl.report.", message.data, names, copies);
    }));
    heard.push_back(bus->subscribe("tl.stats." + host, [&](bus::Message&& message) {
      tell_copies<v1::HostStats, v1::NodeStats>(*bus, "tl.stats.", message.data, names, copies);
    }));
  }
  // Hosts and what runs on them are known before the orders.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  int64_t last = 0;
  for (int i = 0; i < copies; ++i) {
    const auto others = names.of_copy(i);
    groups.append(i, others);  // first: replication finds nothing to form
    last = orders.append(i, others);
  }
  std::printf("appended %lld\n", static_cast<long long>(last));
  std::fflush(stdout);
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "usage: copied_fleet PROVISIONER_DSN REPLICATION_DSN NATS_URL NATS_USER "
                         "PASSWORD_FILE INSTANCE COPIES\n");
    return 2;
  }
  try {
    run(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "copied_fleet: %s\n", error.what());
    return 1;
  }
}
