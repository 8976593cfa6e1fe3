#include "runtime/ownership.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <pqxx/pqxx>

#include "runtime/random.h"

namespace trunkline::runtime {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(200);

}  // namespace

// One connection; every failure costs it.
struct Ownership::Session {
  const std::string& dsn;
  std::unique_ptr<pqxx::connection> connection;
  bool is_away = false;

  pqxx::result ask(const std::string& sql, const std::vector<std::string>& values) {
    try {
      if (!connection) {
        connection = std::make_unique<pqxx::connection>(dsn + " connect_timeout=2");
        pqxx::nontransaction(*connection).exec0("SET statement_timeout = '2s'");
      }
      pqxx::nontransaction session(*connection);
      return session.exec_params(sql, pqxx::prepare::make_dynamic_params(values));
    } catch (...) {
      connection.reset();
      throw;
    }
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
    Session session{dsn_, nullptr, false};
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

void Ownership::taken(Session& session, TimePoint asked_at) {
  const auto rows = session.ask("SELECT coalesce(max(position), 0) FROM log.event", {});
  must_fold_ = rows[0][0].as<int64_t>();
  const std::lock_guard lock(mutex_);
  is_ours_ = true;
  is_folded_ = false;
  clock_.owned_since(asked_at);
  spdlog::info("this process takes the ownership of {}", name_);
}

void Ownership::look(Session& session) {
  const TimePoint asked_at = monotonic_now();
  if (is_ours_) {
    const bool renewed =
        session.holds("SELECT log.renew_ownership($1, $2::uuid)", {name_, id_});
    const std::lock_guard lock(mutex_);
    // After a pause that was too long, what was folded meanwhile may not be all.
    if (!clock_.owns(asked_at)) is_ours_ = is_folded_ = false;
    if (renewed && is_ours_) return clock_.owned_since(asked_at);
    is_ours_ = is_folded_ = false;
    clock_.lost();
    if (!renewed) spdlog::warn("another process owns {} now", name_);
    return;
  }
  const auto rows = session.ask(
      "SELECT coalesce(owner::text, ''), renewals FROM log.ownership WHERE name = $1", {name_});
  OwnershipRow row;
  if (!rows.empty()) row = {rows[0][0].as<std::string>(), rows[0][1].as<int64_t>()};
  clock_.saw(row, monotonic_now());
  if (row.owner != id_ && !clock_.may_take(monotonic_now())) return;
  const TimePoint taking_at = monotonic_now();
  if (session.holds("SELECT log.take_ownership($1, $2::uuid, nullif($3, '')::uuid, $4)",
                    {name_, id_, row.owner, std::to_string(row.renewals)})) {
    taken(session, taking_at);
  }
}

void Ownership::set_owned(bool owned) {
  if (owned == was_owned_) return;
  was_owned_ = owned;
  callbacks_.on_change(owned);
}

void Ownership::run() {
  Session session{dsn_, nullptr, false};
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
