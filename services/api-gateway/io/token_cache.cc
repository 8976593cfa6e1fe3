#include "api-gateway/io/token_cache.h"

#include <algorithm>

#include "base/digest.h"

namespace trunkline::gateway {
namespace {

constexpr std::chrono::milliseconds kKnownFor{5'000};
constexpr std::chrono::milliseconds kUnknownFor{1'000};
constexpr size_t kMostKept = 10'000;

}  // namespace

TokenCache::Answer TokenCache::judge(const std::optional<Caller>& caller, TimePoint now) {
  if (!caller) return {Answer::Kind::unknown, {}};
  const bool expired = caller->expires_unix_us != 0 && caller->expires_unix_us <= to_unix_us(now);
  if (expired) return {Answer::Kind::unknown, {}};
  return {Answer::Kind::known, *caller};
}

void TokenCache::authenticate(const std::string& token, TimePoint now, Callback callback) {
  const std::string raw_hash = sha256(token);
  uint64_t epoch = 0;
  v1::Query query;
  std::optional<Answer> kept;
  {
    const std::lock_guard lock(mutex_);
    epoch = epoch_;
    query.set_min_position(changed_at_);
    const auto found = kept_.find(raw_hash);
    if (found != kept_.end() && found->second.until > Clock::now()) {
      kept = judge(found->second.caller, now);
    }
  }
  if (kept) return callback(std::move(*kept));
  query.mutable_scope()->set_all_projects(true);
  query.mutable_find_token()->set_sha256(hex(raw_hash));
  lookup_.ask(query, [self = shared_from_this(), raw_hash, epoch, now,
                      callback = std::move(callback)](std::optional<v1::QueryAnswer> answer) {
    const bool there =
        answer && answer->status() == v1::QUERY_STATUS_OK && answer->json_size() == 1;
    const bool gone = answer && (answer->status() == v1::QUERY_STATUS_NOT_FOUND ||
                                 (answer->status() == v1::QUERY_STATUS_OK && !there));
    if (!there && !gone) return callback({Answer::Kind::unavailable, {}});
    std::optional<Caller> caller;
    if (there) caller = caller_from(answer->json(0));
    self->keep(raw_hash, epoch, caller);
    callback(judge(caller, now));
  });
}

void TokenCache::keep(const std::string& hash, uint64_t epoch, std::optional<Caller> caller) {
  const std::lock_guard lock(mutex_);
  if (epoch != epoch_) return;
  if (kept_.size() >= kMostKept) kept_.clear();
  const auto until = Clock::now() + (caller ? kKnownFor : kUnknownFor);
  kept_[hash] = {std::move(caller), until};
}

void TokenCache::changed(uint64_t position) {
  const std::lock_guard lock(mutex_);
  ++epoch_;
  changed_at_ = std::max(changed_at_, position);
  kept_.clear();
}

}  // namespace trunkline::gateway
