#include "proxy/io/proxy_context.h"

#include "proxy/domain/wire.h"
#include "runtime/random.h"

namespace trunkline::proxy {

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

ProxyContext::ProxyContext(ProxyOptions chosen)
    : options(std::move(chosen)), traffic(options.traffic_file) {
  if (!options.tls_certificate_file.empty()) {
    client_tls = server_context(options.tls_certificate_file, options.tls_key_file);
    certificate_hash = proxy::certificate_hash(client_tls.get());
  }
  if (!options.node_ca_file.empty()) node_tls = client_context(options.node_ca_file);
}

}  // namespace trunkline::proxy
