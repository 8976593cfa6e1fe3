#include "api-gateway/io/lookup_client.h"

#include <chrono>
#include <memory>
#include <utility>

#include "api-gateway/io/http_server.h"
#include "bus/streams.h"

namespace trunkline::gateway {
namespace {

// Questions that clients repeat: the present state of one thing, at or after the same position,
// and tokens.
bool is_shared(const v1::Query& query) {
  if (query.has_find_token()) return true;
  const auto& get = query.get_resource();
  return query.has_get_resource() && get.at_position() == 0 && get.at_unix_us() == 0;
}

}  // namespace

void LookupClient::ask(v1::Query query, Callback callback) {
  query.set_patience_ms(static_cast<uint32_t>(patience_.count()));
  Asked asked;
  asked.bytes = query.SerializeAsString();
  asked.callbacks.push_back(std::move(callback));
  if (!is_shared(query)) return send({}, std::move(asked));
  v1::Query untraced = std::move(query);
  untraced.clear_traceparent();
  const std::string key = untraced.SerializeAsString();
  {
    const std::lock_guard lock(mutex_);
    const auto [found, first] = under_way_.try_emplace(key);
    if (!first) {
      found->second.bytes = std::move(asked.bytes);
      found->second.callbacks.push_back(std::move(asked.callbacks.front()));
      return;
    }
  }
  send(key, std::move(asked));
}

// `key` is empty for a question that is not shared.
void LookupClient::send(const std::string& key, Asked asked) {
  const auto callbacks = std::make_shared<std::vector<Callback>>(std::move(asked.callbacks));
  try {
    bus_.request_async(subject_, asked.bytes, patience_,
                       [this, key, callbacks](std::optional<bus::Message> message) {
                         v1::QueryAnswer answer;
                         // With a Status header it is the server that says nobody listens.
                         const bool good = message && !message->headers.contains("Status") &&
                                           answer.ParseFromString(message->data);
                         on_answer(key, *callbacks,
                                   good ? std::optional(std::move(answer)) : std::nullopt);
                       });
  } catch (const bus::BusUnavailable&) {
    on_answer(key, *callbacks, std::nullopt);
  }
}

void LookupClient::on_answer(const std::string& key, std::vector<Callback>& callbacks,
                             std::optional<v1::QueryAnswer> answer) {
  Asked next;
  if (!key.empty()) {
    const std::lock_guard lock(mutex_);
    const auto found = under_way_.find(key);
    next = std::exchange(found->second, {});
    if (next.callbacks.empty() || !answer) under_way_.erase(found);
  }
  if (!answer) {
    // Who waited for the next one need not wait for lookup's silence once more.
    for (auto& callback : next.callbacks) callbacks.push_back(std::move(callback));
  } else if (!next.callbacks.empty()) {
    send(key, std::move(next));
  }
  const ReplyBatch together;
  for (size_t i = 0; i + 1 < callbacks.size(); ++i) callbacks[i](answer);
  callbacks.back()(std::move(answer));
}

}  // namespace trunkline::gateway
