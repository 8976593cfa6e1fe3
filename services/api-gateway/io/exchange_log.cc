// The part of an exchange that shows the log of a node.
#include "api-gateway/domain/target.h"
#include "api-gateway/io/exchange.h"
#include "runtime/random.h"

namespace trunkline::gateway {

void Exchange::read_log(const std::shared_ptr<ReadLog>& plan) {
  gather(plan->needs, true, [self = shared_from_this(), plan](std::optional<Problem> problem) {
    if (problem) return self->refuse(*problem);
    const auto source = choose_log(self->found_.at(0), plan->wish.node);
    if (!source) return self->refuse(source.problem());
    v1::NodeLogRequest request;
    if (plan->wish.from) {
      *request.mutable_from() = *plan->wish.from;
    } else {
      request.set_last_lines(plan->wish.lines);
      request.set_since_unix_us(plan->wish.since_unix_us);
    }
    self->gateway_->logs_.ask(
        *source, std::move(request),
        [self, plan, source = *source](std::optional<v1::NodeLogAnswer> answer) {
          self->guarded([&] {
            if (!answer) return self->refuse({503, "host_silent", "the node's host is silent"});
            if (!answer->there()) {
              return self->refuse({404, "not_found", "the host does not have the node"});
            }
            self->show_log(*plan, source, std::move(*answer));
          });
        });
  });
}

void Exchange::show_log(const ReadLog& plan, const LogSource& source,
                        v1::NodeLogAnswer&& answer) {
  if (!plan.wish.follow || request_.method == "HEAD") {
    HttpResponse response;
    response.content_type = "text/plain; charset=utf-8";
    response.headers.emplace_back(kLogPlaceHeader, log_place_text(source.node, answer.next()));
    response.body = std::move(*answer.mutable_text());
    return finish(std::move(response));
  }
  const bool taken = gateway_->logs_.follow(fair_lane(caller_), source, std::move(answer), reply_,
                                            token_check());
  if (!taken) {
    return refuse({429, "too_many_followers", "too many logs are being followed; end some"});
  }
  finished_ = true;
  take_leave(200);
}

// Whether the caller's token is still good, for an answer that takes long.
LogFollower::Check Exchange::token_check() const {
  const auto header = request_.header("authorization");
  const std::string token = header ? bearer_token(*header).value_or("") : "";
  return [tokens = gateway_->tokens_, token](std::function<void(bool)> then) {
    tokens->authenticate(token, runtime::now(), [then](const TokenCache::Answer& answer) {
      then(answer.kind != TokenCache::Answer::Kind::unknown);
    });
  };
}

}  // namespace trunkline::gateway
