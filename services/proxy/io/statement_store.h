// Texts of prepared statements of one endpoint's pooled clients: alike ones once, and so many bytes
// at most. Thread-safe; what it keeps may outlive it.
#pragma once

#include <memory>

#include "proxy/domain/pooled_statements.h"

namespace trunkline::proxy {

class StatementStore : public StatementTexts {
 public:
  // What a client that keeps a text costs besides it is counted, too.
  static constexpr size_t kOverhead = 256;
  explicit StatementStore(size_t most_bytes = 128 << 20);
  ~StatementStore() override;
  StatementStore(const StatementStore&) = delete;
  StatementStore& operator=(const StatementStore&) = delete;

  Text keep(std::string_view text) override;
  size_t bytes() const;

 private:
  struct Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace trunkline::proxy
