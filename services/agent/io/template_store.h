// One template data directory per image, made by initdb once, and a few ready copies of it, so that
// a new primary is a rename away. Thread-safe.
//
// Nothing half made is ever used: everything is made under a temporary name, put on disk, and
// renamed; temporary names are swept at the start.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/io/file_ops.h"

namespace trunkline::agent {

class TemplateStore {
 public:
  // `images`: name -> directory of PostgreSQL's programs. `directory` belongs to the node's user.
  TemplateStore(std::string directory, std::map<std::string, std::string> images, NodeUser user,
                int spares);
  ~TemplateStore();

  // Makes templates, and spares while there is room for them, from now on, in a thread of its own.
  void start(std::function<bool()> has_room);
  // Gives up what is being made; take() fails from now on.
  void stop();
  bool has_image(const std::string& image) const { return images_.contains(image); }
  const std::map<std::string, std::string>& images() const { return images_; }
  std::string program(const std::string& image, const std::string& name) const;
  // Whether a server of the image can load pg_stat_statements.
  bool counts_statements(const std::string& image) const;

  // Puts a complete copy with its own system identifier at `target` (which must not exist), on disk
  // when this returns, owned by `user`. Waits for the template if it is being made. Throws
  // std::exception.
  void take(const std::string& image, const std::string& target, uint64_t system_identifier,
            const NodeUser& user);

 private:
  void run();
  bool stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }
  void remove_unfinished(const std::string& path);
  void make_template(const std::string& image);
  void make_spare(const std::string& image);
  bool take_spare(const std::string& image, const std::string& target, const NodeUser& user);
  void give(const std::string& copy, const std::string& target, const NodeUser& user);
  std::string path(const std::string& image) const { return directory_ + "/" + image; }

  const std::string directory_;
  const std::map<std::string, std::string> images_;
  const NodeUser user_;
  const int spares_wanted_;
  std::function<bool()> has_room_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::vector<std::string>> spares_;
  std::map<std::string, bool> template_ready_;
  std::atomic<uint64_t> counter_{0};
  int takes_ = 0;  // running ones
  std::chrono::steady_clock::time_point last_take_{};
  bool stopping_ = false;
  Fd stop_fd_;  // readable when stopping
  std::thread thread_;
};

// Gives the data directory (not running) its own system identifier; the changed files are on disk
// when it returns. Call with the node user's rights.
void give_system_identifier(const std::string& data_directory, uint64_t system_identifier);

}  // namespace trunkline::agent
