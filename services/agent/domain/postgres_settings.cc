#include "agent/domain/postgres_settings.h"

#include <algorithm>

#include "agent/domain/sql_text.h"
#include "base/digest.h"

namespace trunkline::agent {
namespace {

class ConfText {
 public:
  void text(const std::string& name, const std::string& value) {
    out_ += name + " = " + quote_setting(value) + "\n";
  }
  void number(const std::string& name, uint64_t value, const char* unit = "") {
    out_ += name + " = " + std::to_string(value) + unit + "\n";
  }
  void word(const std::string& name, const std::string& value) {
    out_ += name + " = " + value + "\n";
  }
  const std::string& str() const { return out_; }

 private:
  std::string out_;
};

void add_connections(ConfText& conf, const ConfigInput& in, const SizedSettings& sized) {
  const StandbyFloor floor = in.keeps_floor ? in.floor : StandbyFloor{};
  conf.text("listen_addresses", in.ensure.address.address);
  conf.number("port", in.ensure.address.port);
  conf.text("unix_socket_directories", in.socket_dir);
  conf.word("unix_socket_permissions", in.socket_for_group ? "0770" : "0700");
  // Who gets in answers at once: proxies, and nodes of the group.
  conf.number("authentication_timeout", 5, "s");
  conf.number("max_connections", std::max(sized.max_connections, floor.max_connections));
  conf.number("superuser_reserved_connections", 5);
  conf.number("max_worker_processes",
              std::max(sized.max_worker_processes, floor.max_worker_processes));
  conf.number("max_parallel_workers", sized.max_parallel_workers);
  conf.number("max_parallel_workers_per_gather", std::min<uint32_t>(sized.max_parallel_workers, 2));
  conf.word("password_encryption", "scram-sha-256");
  conf.word("ssl", "on");
  conf.text("ssl_ca_file", in.tls_dir + "/ca.crt");
  conf.text("ssl_cert_file", in.tls_dir + "/node.crt");
  conf.text("ssl_key_file", in.tls_dir + "/node.key");
  conf.text("ssl_min_protocol_version", "TLSv1.2");
  conf.number("tcp_keepalives_idle", 10, "s");
  conf.number("tcp_keepalives_interval", 3, "s");
  conf.number("tcp_keepalives_count", 3);
  conf.number("tcp_user_timeout", 15, "s");
}

// A connection costs up to 64 kB of what is shared; without its guard a server reads none of this.
void add_process_memory(ConfText& conf, const ConfigInput& in, const SizedSettings& sized) {
  if (in.guard.empty()) return;
  const uint32_t kept = in.keeps_floor ? in.floor.max_connections : 0;
  const uint64_t more = kept > sized.max_connections ? (kept - sized.max_connections) / 16 : 0;
  conf.number("trunkline.process_memory_mb", sized.process.own_mb);
  conf.number("trunkline.process_mapped_mb", sized.process.mapped_mb + more);
}

void add_memory_and_wal(ConfText& conf, const SizedSettings& sized) {
  conf.number("shared_buffers", sized.shared_buffers_mb, "MB");
  conf.number("effective_cache_size", sized.effective_cache_size_mb, "MB");
  conf.number("work_mem", sized.work_mem_kb, "kB");
  conf.number("maintenance_work_mem", sized.maintenance_work_mem_mb, "MB");
  conf.word("dynamic_shared_memory_type", "posix");
  conf.number("max_wal_size", sized.max_wal_size_mb, "MB");
  conf.number("min_wal_size", 80, "MB");
  conf.word("wal_level", "replica");
  conf.word("wal_log_hints", "on");
  conf.number("wal_keep_size", 128, "MB");
  conf.number("max_slot_wal_keep_size", sized.max_slot_wal_keep_size_mb, "MB");
}

void add_replication(ConfText& conf, const ConfigInput& in) {
  conf.word("hot_standby", "on");
  conf.number("max_wal_senders", 24);
  conf.number("max_replication_slots", 24);
  conf.number("wal_receiver_status_interval", 1, "s");
  conf.number("wal_sender_timeout", 5, "s");
  conf.number("wal_receiver_timeout", 5, "s");
  conf.number("wal_retrieve_retry_interval", 100, "ms");
  conf.text("synchronous_standby_names", synchronous_standby_names(in.role));
  if (in.role.role == NodeRole::standby) {
    conf.text("primary_conninfo",
              primary_conninfo(in.node_id, in.role, in.tls_dir, in.upstream_key));
    conf.text("primary_slot_name", slot_name(in.node_id));
  }
  if (in.role.role == NodeRole::fenced || in.role.role == NodeRole::primary) {
    // No query may hold up the replay of what it has: before a promotion, too.
    conf.number("max_standby_streaming_delay", 0);
    conf.number("max_standby_archive_delay", 0);
  }
}

void add_log_and_rest(ConfText& conf, const ConfigInput& in) {
  conf.word("restart_after_crash", "on");
  conf.text("log_destination", "stderr");
  conf.word("logging_collector", "off");
  conf.text("log_line_prefix", "%m [%p] %q%u@%d ");
  conf.word("log_timezone", "UTC");
  conf.word("timezone", "UTC");
  conf.text("lc_messages", "C");
  // A statement in the log can hold a password that a client typed into it.
  conf.word("log_min_error_statement", "panic");
  conf.word("log_statement", "none");
  conf.text("cluster_name", in.node_id);
  std::string libraries = in.guard;
  if (in.statements) libraries += libraries.empty() ? "pg_stat_statements" : ", pg_stat_statements";
  if (!libraries.empty()) conf.text("shared_preload_libraries", libraries);
  if (in.statements) {
    conf.number("pg_stat_statements.max", 1000);
    // The texts of others, such as that of ALTER ROLE, are kept as they were typed.
    conf.word("pg_stat_statements.track_utility", "off");
  }
  conf.word("default_transaction_read_only", in.read_only ? "on" : "off");
  // Of a process. Only a superuser can change it.
  conf.number("temp_file_limit", in.ensure.size.disk_gb * in.disk_unit_mb / 4, "MB");
  // With the mark below it tells that pg_hba.conf was read, too.
  conf.word("trunkline.clients", in.closed ? "rejected" : "welcome");
}

// A unit that is less than a GB is for tests, which cannot fill 8 GB.
void fit_wal_to_unit(SizedSettings& sized, uint64_t disk_unit_mb) {
  if (disk_unit_mb >= 1024) return;
  sized.max_wal_size_mb = std::max<uint64_t>(80, sized.max_wal_size_mb * disk_unit_mb / 1024);
  sized.max_slot_wal_keep_size_mb =
      std::max<uint64_t>(128, sized.max_slot_wal_keep_size_mb * disk_unit_mb / 1024);
}

}  // namespace

SizedSettings sized_settings(const NodeSize& ordered, uint64_t host_ram_mb) {
  NodeSize size = ordered;
  if (host_ram_mb > 0) size.ram_mb = std::min(size.ram_mb, host_ram_mb);
  SizedSettings s;
  s.max_connections = static_cast<uint32_t>(std::clamp<uint64_t>(size.ram_mb / 10, 50, 5000));
  s.shared_buffers_mb = std::max<uint64_t>(16, size.ram_mb / 4);
  s.effective_cache_size_mb = std::max<uint64_t>(32, size.ram_mb * 3 / 4);
  // Half of what shared buffers leave, if every connection sorts at once.
  s.work_mem_kb =
      std::clamp<uint64_t>(size.ram_mb * 1024 * 3 / 8 / s.max_connections, 1024, 1u << 20);
  s.maintenance_work_mem_mb = std::clamp<uint64_t>(size.ram_mb / 16, 16, 2048);
  s.max_worker_processes = std::max<uint32_t>(8, size.cpu + 4);
  s.max_parallel_workers = std::max<uint32_t>(1, size.cpu);
  s.max_wal_size_mb = std::clamp<uint64_t>(size.disk_gb * 1024 / 10, 256, 16384);
  s.max_slot_wal_keep_size_mb = std::max<uint64_t>(512, size.disk_gb * 1024 / 8);
  s.process = process_memory(size.ram_mb);
  return s;
}

std::string synchronous_standby_names(const RoleSpec& role) {
  if (role.role != NodeRole::primary) return kNoSyncSet;
  if (role.sync_number == 0 || role.sync_candidates.empty()) return "";
  std::string out = "ANY " + std::to_string(role.sync_number) + " (";
  for (size_t i = 0; i < role.sync_candidates.size(); ++i) {
    if (i > 0) out += ", ";
    out += quote_identifier(role.sync_candidates[i]);
  }
  return out + ")";
}

std::string primary_conninfo(const std::string& name, const RoleSpec& role,
                             const std::string& tls_dir, const std::string& key) {
  const bool named = !role.upstream.host.empty();
  std::string out = "user=" + std::string(kReplicatorRole);
  if (named) out += " host=" + quote_conninfo(role.upstream.host);
  out += (named ? " hostaddr=" : " host=") + quote_conninfo(role.upstream.address);
  out += " port=" + std::to_string(role.upstream.port);
  out += std::string(" sslmode=") + (named ? "verify-full" : "verify-ca");
  out += " sslrootcert=" + quote_conninfo(tls_dir + "/ca.crt");
  out += " sslcert=" + quote_conninfo(tls_dir + "/node.crt");
  out += " sslkey=" + quote_conninfo(key);
  out += " application_name=" + quote_conninfo(name);
  out += " connect_timeout=3 gssencmode=disable keepalives_idle=2 keepalives_interval=1"
         " keepalives_count=3 tcp_user_timeout=5000";
  return out;
}

std::string postgresql_conf(const ConfigInput& input) {
  SizedSettings sized = sized_settings(input.size, input.host_ram_mb);
  fit_wal_to_unit(sized, input.disk_unit_mb);
  ConfText conf;
  add_connections(conf, input, sized);
  add_memory_and_wal(conf, sized);
  add_process_memory(conf, input, sized);
  add_replication(conf, input);
  add_log_and_rest(conf, input);
  const std::string body = "# Written by the Trunkline agent; changes by hand are overwritten.\n"
                           "# Who is let in: " +
                           hex(sha256(input.access)).substr(0, 16) + "\n" + conf.str();
  return body + kConfigMark + " = '" + hex(sha256(body)).substr(0, 16) + "'\n";
}

std::string config_mark(const std::string& text) {
  const std::string key = std::string("\n") + kConfigMark + " = '";
  const size_t at = text.rfind(key);
  if (at == std::string::npos) return "";
  const size_t from = at + key.size();
  const size_t end = text.find('\'', from);
  return end == std::string::npos ? "" : text.substr(from, end - from);
}

namespace {

// `local` and `remote`: what happens to clients.
std::string hba_conf(const std::string& local, const std::string& remote) {
  const std::string peers = "cert map=trunkline_peers clientname=DN\n";
  return "# Written by the Trunkline agent; the first line that fits decides.\n"
         "local   all          postgres              peer map=trunkline\n"
         "local   replication  all                   reject\n"
         "local   all          trunkline_replicator  reject\n"
         "local   all          all                   " +
         local +
         "\n"
         "hostssl replication  trunkline_replicator  all  " +
         peers +
         "host    replication  all                   all  reject\n"
         "hostssl postgres     trunkline_replicator  all  " +
         peers +
         "host    all          trunkline_replicator  all  reject\n"
         "host    all          postgres              all  reject\n" +
         remote + "\n";
}

constexpr char kWithPassword[] = "scram-sha-256";

}  // namespace

std::string pg_hba_conf(Clients clients) {
  const char* by_proxy = "hostssl all          all                   all  scram-sha-256"
                         " clientcert=verify-ca";
  const char* direct = "host    all          all                   all  scram-sha-256";
  return hba_conf(kWithPassword, clients == Clients::by_proxy ? by_proxy : direct);
}

std::string pg_hba_closed_conf() {
  return hba_conf("reject", "host    all          all                   all  reject");
}

std::string pg_ident_conf(const std::string& agent_user, const std::string& node_user,
                          const RoleSpec& role) {
  std::string out = "# Written by the Trunkline agent.\n";
  for (const auto& user : {agent_user, node_user}) {
    out += "trunkline        " + quote_identifier(user) + "  postgres\n";
    if (agent_user == node_user) break;
  }
  const auto peer = [&](const std::string& name) {
    out += "trunkline_peers  \"" + name + "\"  " + kReplicatorRole + "\n";
  };
  for (const auto& other : role.peers) {
    peer("CN=" + other.node_id + ",OU=" + other.host);
    // As agents of the release before show themselves.
    peer("CN=" + other.host);
  }
  // The sender does not name peers.
  if (role.peers.empty() && !role.standby_node_ids.empty()) {
    peer("/^CN=[a-z0-9][a-z0-9_-]*(,OU=[a-z0-9][a-z0-9_-]*)?$");
  }
  return out;
}

std::string rewind_grants_sql() {
  const std::string to = std::string(" TO ") + kReplicatorRole + ";\n";
  std::string out = "GRANT CONNECT ON DATABASE postgres" + to;
  for (const char* function :
       {"pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)", "pg_read_binary_file(text, bigint, bigint, boolean)"}) {
    out += std::string("GRANT EXECUTE ON FUNCTION pg_catalog.") + function + to;
  }
  return out;
}

}  // namespace trunkline::agent
