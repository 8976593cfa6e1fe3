// One request and its answer. Lives as long as somebody may still call it back; only one step at a
// time runs, on whatever thread the step before ended.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api-gateway/domain/plan.h"
#include "api-gateway/io/gateway.h"
#include "telemetry/telemetry.h"

namespace trunkline::gateway {

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(std::shared_ptr<Gateway> gateway, HttpRequest&& request, std::shared_ptr<Reply> reply);
  ~Exchange();

  void start();

 private:
  // Runs a step; whatever it throws is answered 503.
  void guarded(const std::function<void()>& step);

  void route();
  void describe_request();
  void serve_open();
  void authenticate();
  void on_caller(const TokenCache::Answer& answer);
  void carry_out();
  void read_one(const std::shared_ptr<ReadOne>& plan);
  void on_operation_missing(const ReadOne& plan);
  void read_many(const std::shared_ptr<ReadMany>& plan);
  void read_log(const std::shared_ptr<ReadLog>& plan);
  void show_log(const ReadLog& plan, const LogSource& source, v1::NodeLogAnswer&& answer);
  LogFollower::Check token_check() const;

  // Asks for every needed document, then goes on.
  // `needs` must live until `then` is called, which is given the first problem or nothing.
  void gather(const std::vector<Need>& needs, bool parse,
              std::function<void(std::optional<Problem>)> then);

  void write(const std::shared_ptr<Write>& plan);
  void on_need_missing(const std::shared_ptr<Write>& plan, const Problem& problem);
  void build_and_send(const std::shared_ptr<Write>& plan);
  void on_command(const std::shared_ptr<Write>& plan, const CommandClient::Outcome& outcome);
  void note_write(uint64_t position);
  void read_back(const std::shared_ptr<Write>& plan, uint64_t position);
  void administrate();
  void check_ready();

  void ask(v1::Query query, std::function<void(std::optional<v1::QueryAnswer>)> then);
  void refuse(const Problem& problem) { finish(problem_response_for(problem)); }
  HttpResponse problem_response_for(const Problem& problem);
  void finish(HttpResponse response);
  void leave();                 // is counted no longer
  void take_leave(int status);  // it is answered, or is being answered by others

  const std::shared_ptr<Gateway> gateway_;
  HttpRequest request_;
  const std::shared_ptr<Reply> reply_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  RouteMatch match_;
  Caller caller_;
  bool entered_ = false;   // counted in Gateway::in_flight_
  bool finished_ = false;
  std::unique_ptr<telemetry::Span> span_;
  std::string traceparent_;
  std::vector<json> found_;
};

}  // namespace trunkline::gateway
