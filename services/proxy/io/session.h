// One client's connection, from its first packet to its end: log the client in, log into a node for
// it, forward, and carry it over to another node when the primary moves. Lives on its worker's
// thread; destroyed by its worker.
//
// Phases: a coroutine runs (login, carry, farewell), or bytes are forwarded by on_events().
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "proxy/domain/carried.h"
#include "proxy/domain/pooled_statements.h"
#include "proxy/domain/route_view.h"
#include "proxy/domain/scram.h"
#include "proxy/domain/startup.h"
#include "proxy/domain/traffic.h"
#include "proxy/io/node_login.h"
#include "proxy/io/pools.h"
#include "proxy/io/stream.h"
#include "proxy/io/worker.h"

namespace trunkline::proxy {

class Session {
 public:
  Session(Worker& worker, ClientPeer peer, Entrance entrance);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void start();
  void on_route_change();

 private:
  enum class Phase { talking, forwarding, closed };
  // Bytes that one side did not take yet; the other is not read meanwhile.
  struct Backlog {
    std::string bytes;
    size_t at = 0;
    bool empty() const { return at == bytes.size(); }
  };

  // session.cc
  void run(Task<void> work);
  Task<void> supervise(Task<void> work);
  void close();
  void dismiss();
  Task<void> farewell(std::string last_words);
  void end_with(const Refusal& why);
  static void on_events(void* self, Stream& stream, uint32_t events);
  void pause_client();

  // session_login.cc
  Task<void> log_in();
  Task<FirstPacket> first_packet(SteadyTime deadline);
  Task<void> begin_tls(SteadyTime deadline);
  Task<void> pass_cancel(FirstPacket packet);
  Task<void> repeat_cancel(CancelTarget target, uint64_t flight);
  Task<void> send_cancel(CancelTarget target);
  std::optional<EndpointName> endpoint_asked_for(const FirstPacket& packet) const;
  std::optional<Verifier> find_verifier(const std::optional<EndpointName>& name,
                                        const std::string& user,
                                        std::shared_ptr<Endpoint>* endpoint) const;
  Task<bool> authenticate(const FirstPacket& packet, std::string preface, SteadyTime deadline);
  std::string wrong_password(const std::string& user) const;
  std::string sasl_offer() const;

  // session_node.cc: where the session's server is
  void keep_cancel_target(CancelTarget target);
  Task<std::string> connect_to_node(SteadyTime until, bool bounded_by_state,
                                    NodeSession* out);  // empty, or last words for the client
  Task<void> wait_for_route(SteadyTime until);
  void take_place(const NodeView& node, const RouteView& route);
  void leave_place();

  // session_pool.cc
  using Parameters = std::vector<std::pair<std::string, std::string>>;
  Task<std::string> connect_to_pool(const Parameters& parameters,
                                    NodeSession* out);  // as connect_to_node()
  bool is_pooled() const { return entrance_.way == Way::pooled; }
  bool has_lost_user() const;
  void take_from_pooled(std::string_view bytes);
  void take_held();
  void pass_to_pooled(std::string_view bytes);
  bool fails_to_reset(std::string_view bytes);

  // session_forward.cc
  void enter_forwarding();
  void forward(Stream& stream, uint32_t events);
  void pump_client();
  void pump_server();
  bool flush(Backlog& backlog, Stream& to);
  void put(Backlog& backlog, Stream& to, std::string_view bytes);
  void update_wants();
  Fate fate() const;
  bool is_movable() const { return traffic_.idle() && to_client_.empty(); }
  void tell_ties();

  // session_carry.cc
  Task<void> carry();
  static std::string tied(std::string_view by);
  Task<void> capture(CarriedState* state, SteadyTime deadline);
  Task<std::string> take_state(CarriedState* state, SteadyTime deadline);
  Task<std::string> restore(const CarriedState& state, NodeSession node, SteadyTime deadline);
  Task<std::string> take_steps(const Replay& told, ServerParameters* parameters,
                               SteadyTime deadline);

  Worker& worker_;
  ProxyContext& context_;
  const bool loopback_;
  const int accepted_fd_;
  NewcomerPlace newcomer_;
  const Entrance entrance_;
  Phase phase_ = Phase::talking;
  Stream client_;
  Stream server_;
  Event route_event_;
  Task<void> task_;

  std::shared_ptr<Endpoint> endpoint_;
  SharedPlace share_;            // of all that proxies can hold
  bool admitted_ = false;
  EndpointMeter* meter_ = nullptr;  // once there is something to count; a pool counts for its own
  Worker::EndpointSessions::iterator place_in_worker_;
  std::unique_ptr<LoginKeys> keys_;
  std::string startup_;          // for the node
  std::string user_;
  std::string database_;
  std::string company_;          // of readers that must be at one standby; empty: of none
  std::string sasl_last_;        // the server's proof, to be sent with what follows
  std::optional<Placed> placed_;
  std::optional<PoolPlace> pool_place_;  // if it is pooled
  std::optional<CancelKeys::Key> cancel_key_;

  std::unique_ptr<PooledStatements> statements_;  // if it is pooled
  std::shared_ptr<CancelWatch> cancel_watch_;     // likewise
  std::string held_;             // what a pooled client said too early
  bool resetting_ = false;       // a pool has sent its reset to the server
  std::string reset_answer_;     // so far

  Traffic traffic_;
  Backlog to_server_;
  Backlog to_client_;
  bool client_ended_ = false;
  bool wants_carry_ = false;
  TieSet told_ties_;             // as the meter knows them
  std::shared_ptr<const RouteView> moved_by_;  // the route that a move was tried for
};

}  // namespace trunkline::proxy
