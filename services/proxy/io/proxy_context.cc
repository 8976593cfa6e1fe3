#include "proxy/io/proxy_context.h"

#include <sys/resource.h>

#include <algorithm>

#include "proxy/domain/wire.h"
#include "runtime/random.h"

namespace trunkline::proxy {
namespace {

constexpr uint64_t kOtherDescriptors = 200;

// How many connections there are descriptors for: a client's, and its server's.
uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur > kOtherDescriptors ? (limit.rlim_cur - kOtherDescriptors) / 2 : 1;
}

}  // namespace

CancelKeys::Key CancelKeys::add(CancelTarget target) {
  const std::lock_guard lock(mutex_);
  while (true) {
    const std::string random = runtime::random_bytes(8);
    // A process id is positive.
    const Key key{get_uint32(random.data()) & 0x7fffffff, get_uint32(random.data() + 4)};
    if (key.pid != 0 && targets_.try_emplace(packed(key), target).second) return key;
  }
}

void CancelKeys::change(const Key& key, CancelTarget target) {
  const std::lock_guard lock(mutex_);
  targets_[packed(key)] = std::move(target);
}

void CancelKeys::remove(const Key& key) {
  const std::lock_guard lock(mutex_);
  targets_.erase(packed(key));
}

std::optional<CancelTarget> CancelKeys::find(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = targets_.find(packed(key));
  if (found == targets_.end()) return std::nullopt;
  return found->second;
}

NewcomerPlace& NewcomerPlace::operator=(NewcomerPlace&& other) noexcept {
  reset();
  context_ = std::exchange(other.context_, nullptr);
  address_ = other.address_;
  return *this;
}

void NewcomerPlace::reset() {
  ProxyContext* const context = std::exchange(context_, nullptr);
  if (context == nullptr) return;
  const std::lock_guard lock(context->newcomers_mutex);
  context->newcomers.go(address_);
}

SharedPlace& SharedPlace::operator=(SharedPlace&& other) noexcept {
  reset();
  context_ = std::exchange(other.context_, nullptr);
  shares_ = other.shares_;
  who_ = other.who_;
  return *this;
}

void SharedPlace::reset() {
  ProxyContext* const context = std::exchange(context_, nullptr);
  if (context == nullptr) return;
  const std::lock_guard lock(context->shares_mutex);
  shares_->give_back(who_);
}

SharedPlace ProxyContext::take(Shares& of, const InstanceId& who, uint64_t* share) {
  const std::lock_guard lock(shares_mutex);
  if (of.take(who)) return SharedPlace(*this, of, who);
  *share = of.share();
  return {};
}

ProxyContext::ProxyContext(ProxyOptions chosen)
    : options(std::move(chosen)),
      most_connections(std::min(options.most_connections, raise_descriptor_limit())),
      traffic(options.traffic_file),
      session_shares(most_connections - most_connections / 4),
      waiting_shares(options.most_waiting),
      newcomers(limits_within(options.newcomers, most_connections)) {
  if (!options.tls_certificate_file.empty()) {
    client_tls = server_context(options.tls_certificate_file, options.tls_key_file);
    certificate_hash = proxy::certificate_hash(client_tls.get());
  }
  if (!options.node_ca_file.empty()) {
    node_tls = client_context(options.node_ca_file, options.node_certificate_file,
                              options.node_key_file);
  }
}

}  // namespace trunkline::proxy
