// The endpoints of all instances: their routes, and how many sessions they have. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "proxy/domain/route_view.h"
#include "proxy/io/statement_store.h"
#include "trunkline/v1/route.pb.h"

namespace trunkline::proxy {

// How a session came.
enum class Way {
  direct,
  pooled,     // a client of the endpoint's pool
  from_pool,  // the pool itself, for its clients
};

// What a session knows of where it goes, before its client has said anything.
struct Entrance {
  Way way = Way::direct;
  std::optional<EndpointName> endpoint;
};

class Endpoint {
 public:
  explicit Endpoint(EndpointName name) : name_(std::move(name)) {}
  const EndpointName& name() const { return name_; }
  std::shared_ptr<const RouteView> route() const;
  void set_route(std::shared_ptr<const RouteView> route);

  bool admit(Way way);  // false: it has as many connections of this way as it may
  void dismiss(Way way);

  // The node for a new session, null: none now. Counts the session until leave().
  std::shared_ptr<const NodeView> enter(const std::vector<NodeId>& unreachable,
                                        std::string_view company,
                                        std::shared_ptr<const RouteView>* seen);
  void leave(const NodeId& node);

  StatementTexts& statement_texts() { return *statement_texts_; }

 private:
  const EndpointName name_;
  const std::unique_ptr<StatementTexts> statement_texts_ = make_statement_store();
  mutable std::mutex mutex_;
  std::shared_ptr<const RouteView> route_;
  std::map<NodeId, uint64_t> sessions_;
  std::atomic<uint64_t> connected_ = 0;  // to the instance, also from the pool
  std::atomic<uint64_t> from_pool_ = 0;
  std::atomic<uint64_t> pooled_ = 0;
};

class EndpointTable {
 public:
  // Called after a change, on the thread that brought it, one at a time, with the old (or null) and
  // the new route.
  using Changed = std::function<void(const RouteView* before, const RouteView& now)>;
  void on_change(Changed changed) { changed_ = std::move(changed); }

  // True if it was news.
  bool take(const v1::Route& route);
  // What replication says of the primary of an instance whose route is known.
  bool take(const v1::PrimaryNews& news);
  // The positions of all routes, those of deleted instances among them.
  std::map<InstanceId, uint64_t> positions() const;
  // Lookup, at `position`, listed only these. What was in `before` and has not changed since is
  // gone: its end was never heard, or need not be remembered any more. True if there was such.
  bool keep_listed(const std::set<InstanceId>& listed,
                   const std::map<InstanceId, uint64_t>& before, uint64_t position);

  // Until then something can have happened that nobody told us, unless lookup says otherwise.
  void doubt_until(std::chrono::steady_clock::time_point time) { doubt_until_ = time; }
  bool in_doubt() const { return std::chrono::steady_clock::now() < doubt_until_.load(); }
  std::shared_ptr<Endpoint> find(const EndpointName& name) const;
  v1::Routes all() const;

 private:
  bool take_next(const v1::Route& route);  // under taking_
  struct Entry {
    v1::Route route;
    std::shared_ptr<Endpoint> read_write;
    std::shared_ptr<Endpoint> read_only;
  };
  std::mutex taking_;
  mutable std::mutex mutex_;
  std::map<InstanceId, Entry> entries_;
  Changed changed_;
  std::atomic<std::chrono::steady_clock::time_point> doubt_until_{};
};

}  // namespace trunkline::proxy
