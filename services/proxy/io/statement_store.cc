#include "proxy/io/statement_store.h"

#include <mutex>
#include <unordered_map>

namespace trunkline::proxy {
namespace {

struct Core {
  explicit Core(size_t most) : most_bytes(most) {}
  const size_t most_bytes;
  std::mutex mutex;
  std::unordered_map<std::string, size_t> uses;  // by text
  size_t bytes = 0;

  void release(const std::string* text) {
    const std::lock_guard lock(mutex);
    bytes -= kStatementOverhead;
    const auto found = uses.find(*text);
    if (--found->second > 0) return;
    bytes -= found->first.size();
    uses.erase(found);
  }
};

class StatementStore : public StatementTexts {
 public:
  explicit StatementStore(size_t most_bytes) : core_(std::make_shared<Core>(most_bytes)) {}

  Text keep(std::string_view text) override {
    std::string key(text);
    const std::lock_guard lock(core_->mutex);
    auto found = core_->uses.find(key);
    const bool is_new = found == core_->uses.end();
    const size_t more = kStatementOverhead + (is_new ? key.size() : 0);
    if (core_->bytes + more > core_->most_bytes) return nullptr;
    core_->bytes += more;
    if (is_new) found = core_->uses.emplace(std::move(key), 0).first;
    ++found->second;
    return {&found->first, [core = core_](const std::string* own) { core->release(own); }};
  }

 private:
  const std::shared_ptr<Core> core_;
};

}  // namespace

std::unique_ptr<StatementTexts> make_statement_store(size_t most_bytes) {
  return std::make_unique<StatementStore>(most_bytes);
}

}  // namespace trunkline::proxy
