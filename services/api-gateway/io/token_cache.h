// From bearer token to caller: its SHA-256 is looked up and kept for a few seconds. Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "api-gateway/domain/caller.h"
#include "api-gateway/io/lookup_client.h"
#include "base/clock.h"

namespace trunkline::gateway {

class TokenCache : public std::enable_shared_from_this<TokenCache> {
 public:
  explicit TokenCache(LookupClient& lookup) : lookup_(lookup) {}

  struct Answer {
    enum class Kind { known, unknown, unavailable };
    Kind kind = Kind::unavailable;
    Caller caller;
  };
  using Callback = std::function<void(Answer)>;
  // Within the call if the token is cached, else on a thread of the bus. An expired token is
  // unknown.
  void authenticate(const std::string& token, TimePoint now, Callback callback);

  // A token was made or revoked at this position of the log: nothing that is remembered counts any
  // more, and no answer from before it is taken.
  void changed(uint64_t position);

 private:
  using Clock = std::chrono::steady_clock;
  struct Kept {
    std::optional<Caller> caller;  // nothing: there is no such token
    Clock::time_point until;
  };
  static Answer judge(const std::optional<Caller>& caller, TimePoint now);
  void keep(const std::string& hash, uint64_t epoch, std::optional<Caller> caller);

  LookupClient& lookup_;
  std::mutex mutex_;
  std::unordered_map<std::string, Kept> kept_;  // by SHA-256
  uint64_t epoch_ = 0;  // answers to questions from before changed() are not kept
  uint64_t changed_at_ = 0;
};

}  // namespace trunkline::gateway
