// Texts of prepared statements of one endpoint's pooled clients: alike ones once, and so many bytes
// at most. Thread-safe; what it keeps may outlive it.
#pragma once

#include <memory>

#include "proxy/domain/pooled_statements.h"

namespace trunkline::proxy {

inline constexpr size_t kMostStatementBytes = 128 << 20;
// What a client that keeps a text costs besides it is counted, too.
inline constexpr size_t kStatementOverhead = 256;

std::unique_ptr<StatementTexts> make_statement_store(size_t most_bytes = kMostStatementBytes);

}  // namespace trunkline::proxy
