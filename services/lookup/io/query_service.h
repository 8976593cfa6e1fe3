// Answers v1::Query on tl.query.lookup. What is in the cache is answered on the subscription's own
// thread; what needs PostgreSQL goes to a pool; what must wait for a position is parked.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bus/bus.h"
#include "lookup/domain/alerts.h"
#include "lookup/io/document_cache.h"
#include "lookup/io/list_query.h"
#include "lookup/io/live_store.h"
#include "lookup/io/metric_query.h"
#include "lookup/io/log_access.h"
#include "lookup/io/position_gate.h"
#include "lookup/io/read_model.h"
#include "runtime/fair_pool.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::lookup {

class QueryService {
 public:
  struct Options {
    std::string log_dsn;
    std::string read_model_dsn;
    size_t threads = 3;
    std::function<bool()> ready;     // whether the read model is sound
    std::function<void()> suspect;   // it was found damaged
    Rendering rendering;
    std::function<std::vector<Alert>()> alerts;  // what is raised
    std::function<void(v1::Route&)> put_live;  // what is reported of a route's standbys
    const FleetStats* fleet = nullptr;         // nothing: nobody knows how instances fare
  };
  QueryService(bus::Bus& bus, Options options, DocumentCache& cache, PositionGate& gate,
               const LiveStore& live);
  ~QueryService();  // closes the gate; take() must not be called any more

  // For the subscription's callback. Thread-safe; does not block.
  void take(bus::Message&& message);

 private:
  // What one thread of the pool works with.
  struct Connections {
    ReadModel model;
    LogAccess log;
  };
  using QueryPtr = std::shared_ptr<const v1::Query>;

  void answer(const std::string& reply, const QueryPtr& query,
              runtime::FairClock::time_point asked);
  bool answer_from_cache(const std::string& reply, const v1::Query& query);
  v1::QueryAnswer look_up(Connections& own, const v1::Query& query);
  v1::QueryAnswer dispatch(Connections& own, const v1::Query& query);
  v1::QueryAnswer get(Connections& own, const v1::Query& query);
  v1::QueryAnswer get_document(Connections& own, const v1::Query& query, DocKind kind);
  v1::QueryAnswer get_past(Connections& own, const v1::Query& query);
  v1::QueryAnswer get_operation(Connections& own, const v1::Query& query);
  v1::QueryAnswer list(Connections& own, const v1::Query& query);
  v1::QueryAnswer list_events(Connections& own, const v1::Query& query);
  v1::QueryAnswer list_failovers(Connections& own, const v1::Query& query);
  v1::QueryAnswer list_routes(Connections& own, const v1::Query& query);
  v1::QueryAnswer metrics(Connections& own, const v1::Query& query);
  v1::QueryAnswer list_alerts(const v1::Query& query);
  v1::QueryAnswer list_audit(Connections& own, const v1::Query& query);
  v1::QueryAnswer find_token(Connections& own, const v1::Query& query);
  bool owns(Connections& own, const v1::Scope& scope, const std::string& instance_id);
  std::string shown(Connections& own, const Document& document);
  HostUsage usage_of(Connections& own, const Document& host);
  void send(const std::string& reply, v1::QueryAnswer&& answer);

  bus::Bus& bus_;
  const Options options_;
  DocumentCache& cache_;
  PositionGate& gate_;
  const LiveStore& live_;
  MarkerMemory markers_;
  std::mutex usage_mutex_;
  std::unordered_map<std::string, HostUsage> usage_;  // by host name
  std::chrono::steady_clock::time_point usage_taken_;
  runtime::FairPool<Connections> pool_;
};

}  // namespace trunkline::lookup
