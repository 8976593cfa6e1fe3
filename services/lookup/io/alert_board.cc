#include "lookup/io/alert_board.h"

#include <spdlog/spdlog.h>

#include <map>
#include <string_view>

#include "runtime/random.h"
#include "telemetry/metrics.h"

namespace trunkline::lookup {

AlertBoard::AlertBoard(Options options)
    : options_(std::move(options)),
      log_(options_.log_dsn),
      model_(options_.read_model_dsn),
      thread_([this] { run(); }) {}

AlertBoard::~AlertBoard() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void AlertBoard::take_report(const v1::HostReport& report) {
  const std::lock_guard lock(mutex_);
  facts_.take(report, runtime::monotonic_now());
}

void AlertBoard::take_change(const Change& change) {
  const std::lock_guard lock(mutex_);
  for (const Document& document : change.upserts) facts_.take(document);
  for (const DocKey& key : change.removals) facts_.forget(key);
  if (has_read_) return;
  for (const Document& document : change.upserts) changed_.insert(document.key);
  changed_.insert(change.removals.begin(), change.removals.end());
}

std::vector<Alert> AlertBoard::raised() const {
  const std::lock_guard lock(mutex_);
  return book_.raised();
}

// What was not at rest before this process began; what changed meanwhile is newer.
void AlertBoard::read_documents() {
  try {
    std::vector<Document> documents;
    model_.with_connection([&](pqxx::connection& connection) {
      pqxx::nontransaction session(connection);
      const pqxx::result rows = session.exec(
          std::string("SELECT ") + kDocumentColumns + " FROM " + kSchema +
          ".documents WHERE kind = 'instance'"
          " AND (doc->>'status' <> 'ACTIVE' OR doc->'failover' IS NOT NULL"
          " OR doc->'writes'->>'possible' = 'false')"
          " OR kind = 'host'");
      for (const pqxx::row& row : rows) documents.push_back(document_of(row));
    });
    const std::lock_guard lock(mutex_);
    for (const Document& document : documents) {
      if (!changed_.contains(document.key)) facts_.take(document);
    }
    changed_.clear();
    has_read_ = true;
  } catch (const std::exception& error) {
    spdlog::debug("alerts: the read model is away: {}", error.what());
  }
}

// The head is that of the last look: whoever has not reached it by now is behind.
LogFigures AlertBoard::read_figures() {
  LogFigures figures;
  figures.head = head_;
  figures.relayed = options_.relayed();
  figures.projected = options_.projected();
  try {
    head_ = log_.last_position();
    figures.poison = model_.poison().size();
    webhooks_ = log_.troubled_webhooks();
  } catch (const std::exception& error) {
    spdlog::debug("alerts: log or read model are away: {}", error.what());
  }
  figures.webhooks = webhooks_;
  return figures;
}

void AlertBoard::look() {
  static telemetry::GaugeFamily raised_now("trunkline_alerts_raised",
                                           "Alerts that are raised, by rule", {"rule"});
  const LogFigures figures = read_figures();
  std::vector<AlertBook::Change> changes;
  std::map<std::string_view, int> counts;
  {
    const std::lock_guard lock(mutex_);
    facts_.take(figures);
    const TimePoint now = runtime::monotonic_now();
    changes = book_.look(facts_.wrong(book_, now), now);
    for (const AlertRule& rule : alert_rules()) counts[rule.name] = 0;
    for (const Alert& alert : book_.raised()) ++counts[find_alert_rule(alert.rule)->name];
  }
  for (const auto& [rule, count] : counts) raised_now.set({rule}, count);
  for (const auto& change : changes) {
    const Alert& alert = change.alert;
    if (change.raised) {
      spdlog::warn("alert raised: {} of {}: {}", alert.rule, alert.subject, alert.detail);
    } else {
      spdlog::info("alert cleared: {} of {}", alert.rule, alert.subject);
    }
  }
}

void AlertBoard::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const bool has_read = has_read_;
    lock.unlock();
    if (!has_read) read_documents();
    look();
    lock.lock();
    wake_.wait_for(lock, options_.look_every, [&] { return stopping_; });
  }
}

}  // namespace trunkline::lookup
