#include "agent/io/template_store.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "agent/domain/control_file.h"
#include "agent/domain/postgres_settings.h"
#include "agent/io/node_users.h"
#include "agent/io/process.h"

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;

// The disk belongs to the nodes that are being made just now: new copies wait until none was for a
// while, a short one when all copies are used up.
constexpr std::chrono::seconds kQuietBeforeSpares{10};
constexpr std::chrono::seconds kQuietBeforeFirstSpare{2};

// A promotion copies one segment and waits for the disk to have it, whatever it holds; each new
// node and each base backup has some.
constexpr char kWalSegmentMb[] = "4";

int major_of(const std::string& image) {
  const size_t dash = image.rfind('-');
  return dash == std::string::npos ? 0 : std::atoi(image.c_str() + dash + 1);
}

// For the single-user server: a statement a line.
std::string template_sql(int major) {
  std::string sql = std::string("CREATE ROLE ") + kReplicatorRole + " LOGIN REPLICATION;\n" +
                    "CREATE SCHEMA trunkline;\n"
                    "REVOKE ALL ON SCHEMA trunkline FROM PUBLIC;\n"
                    "CREATE TABLE trunkline.managed (kind text NOT NULL CHECK (kind IN ('user', "
                    "'database')), id uuid NOT NULL, name text NOT NULL, owner_id uuid, applied "
                    "text, seen boolean NOT NULL DEFAULT false, anew bigint NOT NULL DEFAULT 0, "
                    "PRIMARY KEY (kind, id));\n"
                    // Agents of one release back write by id alone.
                    "CREATE UNIQUE INDEX managed_id ON trunkline.managed (id);\n"
                    "REVOKE ALL ON trunkline.managed FROM PUBLIC;\n"
                    "REVOKE CONNECT, TEMPORARY ON DATABASE postgres FROM PUBLIC;\n"
                    "REVOKE CONNECT, TEMPORARY ON DATABASE template0 FROM PUBLIC;\n"
                    "REVOKE CONNECT, TEMPORARY ON DATABASE template1 FROM PUBLIC;\n";
  sql += rewind_grants_sql();
  if (major < 15) sql += "REVOKE CREATE ON SCHEMA public FROM PUBLIC;\n";
  return sql;
}

void overwrite(const std::string& path, const std::string& data) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid() ||
      ::pwrite(fd.get(), data.data(), data.size(), 0) != static_cast<ssize_t>(data.size()) ||
      ::fsync(fd.get()) != 0) {
    throw std::system_error(errno, std::generic_category(), path);
  }
}

std::string read_head(const std::string& path, size_t bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::string out(bytes, '\0');
  const ssize_t n = fd.valid() ? ::pread(fd.get(), out.data(), bytes, 0) : -1;
  if (n < 0) throw std::system_error(errno, std::generic_category(), path);
  out.resize(static_cast<size_t>(n));
  return out;
}

}  // namespace

void give_system_identifier(const std::string& data_directory, uint64_t system_identifier) {
  const std::string control_path = data_directory + "/global/pg_control";
  std::string control = read_head(control_path, 8192);
  const auto old = control_system_identifier(control);
  if (!old) throw std::runtime_error("pg_control of the template is damaged");
  for (const auto& entry : fs::directory_iterator(data_directory + "/pg_wal")) {
    if (!entry.is_regular_file() || entry.path().filename().string().size() != 24) continue;
    std::string page = read_head(entry.path(), 40);
    if (patch_wal_header(page, *old, system_identifier)) overwrite(entry.path(), page);
  }
  if (!patch_control_file(control, system_identifier)) {
    throw std::runtime_error("pg_control of the template is damaged");
  }
  overwrite(control_path, control);
}

TemplateStore::TemplateStore(std::string directory, std::map<std::string, std::string> images,
                             NodeUser user, int spares)
    : directory_(std::move(directory)),
      images_(std::move(images)),
      user_(std::move(user)),
      spares_wanted_(spares),
      stop_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  for (const auto& [image, programs] : images_) {
    {
      const AsNodeUser rights(user_);
      make_directory(path(image), 0700);
      spread_children(path(image));
    }
    for (const auto& entry : fs::directory_iterator(path(image))) {
      const std::string name = entry.path().filename();
      if (name.starts_with("tmp")) remove_unfinished(entry.path());
      if (name.starts_with("spare")) spares_[image].push_back(entry.path());
    }
    template_ready_[image] = exists(path(image) + "/data");
  }
}

// One that was on its way to a node belongs to two users.
void TemplateStore::remove_unfinished(const std::string& path) {
  try {
    const AsNodeUser rights(user_);
    remove_tree(path);
  } catch (const std::system_error&) {
    remove_tree(path);
  }
}

TemplateStore::~TemplateStore() {
  stop();
}

void TemplateStore::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  if (::write(stop_fd_.get(), &one, sizeof one) < 0) spdlog::debug("stopped twice");
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TemplateStore::start(std::function<bool()> has_room) {
  has_room_ = std::move(has_room);
  thread_ = std::thread([this] { run(); });
}

std::string TemplateStore::program(const std::string& image, const std::string& name) const {
  return images_.at(image) + "/" + name;
}

bool TemplateStore::counts_statements(const std::string& image) const {
  return has_image(image) && exists(program(image, "../lib/pg_stat_statements.so"));
}

void TemplateStore::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::string todo;
    bool is_template = false;
    for (const auto& [image, ready] : template_ready_) {
      if (!ready) {
        todo = image;
        is_template = true;
        break;
      }
      if (static_cast<int>(spares_[image].size()) < spares_wanted_) todo = image;
    }
    if (todo.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto quiet_at =
        last_take_ + (spares_[todo].empty() ? kQuietBeforeFirstSpare : kQuietBeforeSpares);
    if (!is_template && (takes_ > 0 || std::chrono::steady_clock::now() < quiet_at)) {
      changed_.wait_until(lock, std::max(quiet_at, std::chrono::steady_clock::now() +
                                                       std::chrono::milliseconds(100)));
      continue;
    }
    if (!is_template && !has_room_()) {
      changed_.wait_for(lock, std::chrono::seconds(1), [this] { return stopping_; });
      continue;
    }
    lock.unlock();
    bool failed = false;
    try {
      is_template ? make_template(todo) : make_spare(todo);
    } catch (const std::exception& e) {
      if (!stopping()) spdlog::error("template of {}: {}", todo, e.what());
      failed = true;
    }
    lock.lock();
    if (failed) changed_.wait_for(lock, std::chrono::seconds(5), [this] { return stopping_; });
    changed_.notify_all();
  }
}

void TemplateStore::make_template(const std::string& image) {
  const std::string building = path(image) + "/tmp-template";
  const AsNodeUser rights(user_);
  remove_tree(building);
  run_program({program(image, "initdb"), "--pgdata=" + building, "--data-checksums",
               "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth-local=peer",
               "--auth-host=scram-sha-256", "--no-sync", "--no-instructions",
               std::string("--wal-segsize=") + kWalSegmentMb},
              user_, true, "", std::chrono::minutes(5), stop_fd_.get());
  run_program({program(image, "postgres"), "--single", "-F", "-D", building, "postgres"}, user_,
              true, template_sql(major_of(image)), std::chrono::minutes(5), stop_fd_.get());
  fsync_tree(building);
  rename_path(building, path(image) + "/data");
  fsync_path(path(image));
  const std::lock_guard lock(mutex_);
  template_ready_[image] = true;
}

void TemplateStore::make_spare(const std::string& image) {
  const std::string number = std::to_string(counter_++);
  const std::string building = path(image) + "/tmp-spare" + number;
  const std::string spare = path(image) + "/spare-" + std::to_string(::getpid()) + "-" + number;
  const AsNodeUser rights(user_);
  remove_tree(building);
  copy_data_directory(path(image) + "/data", building);
  fsync_tree(building);
  rename_path(building, spare);
  fsync_path(path(image));
  const std::lock_guard lock(mutex_);
  spares_[image].push_back(spare);
}

bool TemplateStore::take_spare(const std::string& image, const std::string& target,
                               const NodeUser& user) {
  std::string spare;
  {
    const std::lock_guard lock(mutex_);
    auto& spares = spares_[image];
    if (spares.empty()) return false;
    spare = spares.back();
    spares.pop_back();
  }
  give(spare, target, user);
  return true;
}

// Nobody but the templates' user gets at the copy before it is the node's, and nobody but the node
// after.
void TemplateStore::give(const std::string& copy, const std::string& target, const NodeUser& user) {
  if (!user.own) {
    const AsNodeUser rights(user_);
    rename_path(copy, target);
    return;
  }
  const fs::path from(copy);
  const std::string taken =
      from.parent_path() / ("tmp-taken-" + std::to_string(counter_++));  // swept after a crash
  rename_path(copy, taken);
  NodeUsers::give_tree(taken, user);
  rename_path(taken, target);
}

void TemplateStore::take(const std::string& image, const std::string& target,
                         uint64_t system_identifier, const NodeUser& user) {
  if (!has_image(image)) throw std::runtime_error("there is no image " + image);
  {
    std::unique_lock lock(mutex_);
    ++takes_;
    last_take_ = std::chrono::steady_clock::now();
    const bool ready = changed_.wait_for(lock, std::chrono::seconds(30),
                                         [&] { return template_ready_[image] || stopping_; });
    if (!ready || stopping_) {
      --takes_;
      throw std::runtime_error("the template of " + image + " is not ready yet");
    }
  }
  try {
    if (!take_spare(image, target, user)) {
      const std::string copy = path(image) + "/tmp-copy-" + std::to_string(counter_++);
      {
        const AsNodeUser rights(user_);
        remove_tree(copy);
        copy_data_directory(path(image) + "/data", copy);
        fsync_tree(copy);
      }
      give(copy, target, user);
    }
    // On ext4 and XFS the change of owners is on disk with the next file that is.
    const AsNodeUser rights(user);
    give_system_identifier(target, system_identifier);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    --takes_;
    changed_.notify_all();
    throw;
  }
  const std::lock_guard lock(mutex_);
  --takes_;
  changed_.notify_all();
}

}  // namespace trunkline::agent
