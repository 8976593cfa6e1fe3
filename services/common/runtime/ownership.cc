#include "runtime/ownership.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <pqxx/pqxx>

#include "runtime/random.h"

namespace trunkline::runtime {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(200);

// A lock that a process holds as long as its session lives: not for its ownership, but as a sign of
// life. Shared, so that a session that the database has not ended yet is in nobody's way.
const char* const kHoldSign =
    "SELECT pg_advisory_lock_shared(('x' || left(replace($1, '-', ''), 16))::bit(64)::bigint), "
    "pg_backend_pid()";
const char* const kLook =
    "SELECT coalesce(owner::text, ''), renewals, EXISTS ("
    "SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND ((l.classid::bigint << 32) | l.objid::bigint) = "
    "('x' || left(replace(owner::text, '-', ''), 16))::bit(64)::bigint) "
    "FROM log.ownership WHERE name = $1";

}  // namespace

// One connection; every failure costs it.
struct Ownership::Session {
  const std::string& dsn;
  const std::string& id;
  std::unique_ptr<pqxx::connection> connection;
  int pid = 0;
  bool is_away = false;

  pqxx::result ask(const std::string& sql, const std::vector<std::string>& values) {
    try {
      if (!connection) connect();
      pqxx::nontransaction session(*connection);
      return session.exec_params(sql, pqxx::prepare::make_dynamic_params(values));
    } catch (...) {
      connection.reset();
      throw;
    }
  }
  void connect() {
    connection = std::make_unique<pqxx::connection>(dsn + " connect_timeout=2");
    pqxx::nontransaction session(*connection);
    session.exec0("SET statement_timeout = '2s'");
    pid = session.exec_params1(kHoldSign, id)[1].as<int>();
  }
  // The client library connects again without a word; the sign of life is lost then.
  void must_be_the_same(int pid_now) {
    if (pid_now == pid) return;
    connection.reset();
    throw std::runtime_error("the session was another one");
  }
  bool holds(const std::string& sql, const std::vector<std::string>& values) {
    const auto rows = ask(sql, values);
    return !rows.empty() && rows[0][0].as<bool>();
  }
};

Ownership::Ownership(std::string dsn, std::string name)
    : dsn_(std::move(dsn)), name_(std::move(name)), id_(new_uuid()) {}

Ownership::~Ownership() {
  stop();
  if (!is_ours_) return;
  try {
    Session session{.dsn = dsn_, .id = id_};
    session.ask("SELECT log.release_ownership($1, $2::uuid)", {name_, id_});
  } catch (const std::exception& error) {
    spdlog::warn("the ownership of {} is not given away, it runs out: {}", name_, error.what());
  }
}

void Ownership::start(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  thread_ = std::thread([this] { run(); });
}

void Ownership::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

milliseconds Ownership::left() const {
  const std::lock_guard lock(mutex_);
  return is_folded_ ? clock_.left(monotonic_now()) : milliseconds(0);
}

TimePoint Ownership::since() const {
  const std::lock_guard lock(mutex_);
  return since_;
}

TimePoint Ownership::others_until() const {
  const std::lock_guard lock(mutex_);
  return others_until_;
}

void Ownership::taken(Session& session, TimePoint asked_at, TimePoint others_until) {
  const auto rows = session.ask("SELECT coalesce(max(position), 0) FROM log.event", {});
  must_fold_ = rows[0][0].as<int64_t>();
  const std::lock_guard lock(mutex_);
  is_ours_ = true;
  is_folded_ = false;
  clock_.owned_since(asked_at);
  others_until_ = others_until;
  spdlog::info("this process takes the ownership of {}", name_);
}

void Ownership::renew(Session& session) {
  const TimePoint asked_at = monotonic_now();
  const auto answer = session.ask(
      "SELECT log.renew_ownership($1, $2::uuid), pg_backend_pid()", {name_, id_});
  const bool renewed = answer[0][0].as<bool>();
  {
    const std::lock_guard lock(mutex_);
    // After a pause that was too long, what was folded meanwhile may not be all.
    if (!clock_.owns(asked_at)) is_ours_ = is_folded_ = false;
    if (renewed && is_ours_) {
      clock_.owned_since(asked_at);
    } else {
      is_ours_ = is_folded_ = false;
      clock_.lost();
    }
  }
  if (!renewed) spdlog::warn("another process owns {} now", name_);
  session.must_be_the_same(answer[0][1].as<int>());
}

void Ownership::look(Session& session) {
  if (is_ours_) return renew(session);
  const auto rows = session.ask(kLook, {name_});
  const TimePoint seen_at = monotonic_now();
  if (rows.empty()) {
    clock_.saw({}, false, seen_at);
  } else {
    clock_.saw({rows[0][0].as<std::string>(), rows[0][1].as<int64_t>()}, rows[0][2].as<bool>(),
               seen_at);
  }
  const OwnershipRow& row = clock_.row();
  if (row.owner != id_ && !clock_.may_take(seen_at)) return;
  const TimePoint taking_at = monotonic_now();
  if (session.holds("SELECT log.take_ownership($1, $2::uuid, nullif($3, '')::uuid, $4)",
                    {name_, id_, row.owner, std::to_string(row.renewals)})) {
    taken(session, taking_at, clock_.others_until());
  }
}

void Ownership::set_owned(bool owned) {
  if (owned == was_owned_) return;
  was_owned_ = owned;
  callbacks_.on_change(owned);
}

void Ownership::run() {
  Session session{.dsn = dsn_, .id = id_};
  TimePoint look_at;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    if (monotonic_now() >= look_at) {
      look_at = monotonic_now() + (is_ours_ ? kRenewEvery : milliseconds(kLookEvery));
      try {
        look(session);
        session.is_away = false;
      } catch (const std::exception& error) {
        if (!session.is_away) {
          spdlog::warn("the ownership of {} cannot be looked at: {}", name_, error.what());
        }
        session.is_away = true;
        clock_.saw_nothing();
        look_at = monotonic_now() + milliseconds(kLookEvery);
      }
    }
    if (is_ours_ && !is_folded_ && callbacks_.position() >= must_fold_) {
      const std::lock_guard guard(mutex_);
      is_folded_ = true;
      since_ = monotonic_now();
    }
    set_owned(owns());
    lock.lock();
    const auto pause = is_ours_ && !is_folded_ ? std::chrono::milliseconds(5) : kLookEvery;
    wake_.wait_for(lock, pause, [this] { return stopping_; });
  }
  lock.unlock();
  set_owned(false);
}

}  // namespace trunkline::runtime
