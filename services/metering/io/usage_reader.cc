#include "metering/io/usage_reader.h"

#include <algorithm>
#include <charconv>
#include <thread>

#include "base/clock.h"
#include "base/ids.h"
#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

constexpr int64_t kMinuteMs = 60'000;
constexpr int kTries = 5;

constexpr char kCheckpoint[] =
    "SELECT position, closed_position, closed_until_ms, records_from_ms FROM usage.checkpoint";

UsageCheckpoint checkpoint_of(const pqxx::row& row) {
  return {row[0].as<int64_t>(), row[1].as<int64_t>(), row[2].as<int64_t>(), row[3].as<int64_t>()};
}

std::string sums_of_meters() {
  std::string sql;
  for (const MeterInfo& meter : meters()) {
    if (!sql.empty()) sql += ", ";
    sql += "sum(" + std::string(meter.column) + ")::text";
  }
  return sql;
}

Int128 quantity_of(const pqxx::field& field) {
  if (field.is_null()) return 0;
  return parse_integer(field.c_str()).value_or(0);
}

// Of the base rows' own start column.
std::string window_sql(UsageWindow window) {
  switch (window) {
    case UsageWindow::minute: return "window_start_ms - mod(window_start_ms, 60000)";
    case UsageWindow::hour: return "hour_ms";
    case UsageWindow::day: return "hour_ms - mod(hour_ms, 86400000)";
    case UsageWindow::month:
      return "(extract(epoch FROM date_trunc('month', timestamptz 'epoch' + "
             "hour_ms / 1000 * interval '1 second', 'UTC')) * 1000)::bigint";
  }
  return {};
}

std::chrono::sys_days month_of(int64_t ms) {
  const std::chrono::year_month_day day{
      std::chrono::floor<std::chrono::days>(from_unix_us(ms * 1000))};
  return std::chrono::sys_days{day.year() / day.month() / 1};
}

int64_t begin_of(UsageWindow window, int64_t ms) {
  switch (window) {
    case UsageWindow::minute: return ms - ms % kMinuteMs;
    case UsageWindow::hour: return ms - ms % kHourMs;
    case UsageWindow::day: return ms - ms % kDayMs;
    case UsageWindow::month: break;
  }
  return std::chrono::duration_cast<milliseconds>(month_of(ms).time_since_epoch()).count();
}

int64_t end_of(UsageWindow window, int64_t start_ms) {
  switch (window) {
    case UsageWindow::minute: return start_ms + kMinuteMs;
    case UsageWindow::hour: return start_ms + kHourMs;
    case UsageWindow::day: return start_ms + kDayMs;
    case UsageWindow::month: break;
  }
  return begin_of(UsageWindow::month, start_ms + 32 * kDayMs);
}

// Where a page ended: its last row's key and meter.
struct Marker {
  int64_t window_ms = 0;
  std::string project_id, instance_id, node_id;
  size_t meter = 0;
};

// `meter`: the last one of the row's key that was shown.
std::string marker_text(const UsageRow& row, size_t meter) {
  const auto id = [](const std::string& uuid) { return uuid.empty() ? kNoNode : uuid; };
  return std::to_string(row.window_start_ms) + "." + id(row.project_id) + "." +
         id(row.instance_id) + "." + id(row.node_id) + "." +
         std::to_string(meter);
}

std::optional<Marker> parse_marker(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  if (parts.size() != 5) return std::nullopt;
  const auto number = [](const std::string& part) -> std::optional<int64_t> {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < 0) return std::nullopt;
    return value;
  };
  const auto window = number(parts[0]), meter = number(parts[4]);
  const auto project = canonical_uuid(parts[1]), instance = canonical_uuid(parts[2]),
             node = canonical_uuid(parts[3]);
  if (!window || !meter || !project || !instance || !node) return std::nullopt;
  return Marker{*window, *project, *instance, *node, static_cast<size_t>(*meter)};
}

std::string rows_sql(const UsageQuestion& question) {
  const bool minutes = question.window == UsageWindow::minute;
  const std::string base = minutes ? "window_start_ms" : "hour_ms";
  const auto key = [](bool by, const char* column) {
    return by ? std::string(column) : "'" + std::string(kNoNode) + "'::uuid";
  };
  const std::string keys = window_sql(question.window) + ", " +
                           key(question.by_project || question.by_instance, "project_id") + ", " +
                           key(question.by_instance || question.by_node, "instance_id") + ", " +
                           key(question.by_node, "node_id");
  // Through the instances: there is an index on them, and none on a row's project.
  const std::string of_project =
      question.project_id.empty()
          ? "$3 = ''"
          : "instance_id IN (SELECT instance_id FROM usage.instance WHERE project_id = $3::uuid)";
  std::string sql = "SELECT " + keys + ", " + sums_of_meters() + " FROM usage." +
                    (minutes ? "record" : "hour") + " WHERE " + base + " >= $1 AND " + base +
                    " < $2 AND " + of_project +
                    " AND ($4 = '' OR instance_id = nullif($4, '')::uuid)"
                    " AND ($5 = '' OR node_id = nullif($5, '')::uuid)"
                    " GROUP BY 1, 2, 3, 4 ";
  if (!question.marker.empty()) {
    sql += "HAVING (" + keys + ") >= ($7::bigint, $8::uuid, $9::uuid, $10::uuid) ";
  }
  return sql + "ORDER BY 1, 2, 3, 4 LIMIT $6";
}

UsageRow key_of(const UsageQuestion& question, const pqxx::row& row) {
  UsageRow line;
  line.window_start_ms = row[0].as<int64_t>();
  line.window_end_ms = end_of(question.window, line.window_start_ms);
  const auto id = [&](bool by, int column) {
    return by ? std::string(row[column].c_str()) : std::string();
  };
  line.project_id = id(question.by_project || question.by_instance, 1);
  line.instance_id = id(question.by_instance || question.by_node, 2);
  line.node_id = id(question.by_node, 3);
  return line;
}

// The group's lines, in the order of meters; states are added up unless they are asked for.
void put_lines(const UsageQuestion& question, const pqxx::row& row, std::vector<UsageRow>* out) {
  UsageRow line = key_of(question, row);
  const size_t first = out->size();
  for (size_t i = 0; i < kMeters; ++i) {
    line.meter = static_cast<Meter>(i);
    line.quantity = quantity_of(row[static_cast<int>(i) + 4]);
    if (line.quantity == 0) continue;
    if (!question.meters.empty() && std::ranges::find(question.meters, line.meter) ==
                                        question.meters.end()) {
      continue;
    }
    const bool same = !question.by_state && out->size() > first &&
                      info(out->back().meter).name == info(line.meter).name;
    if (same) {
      out->back().quantity += line.quantity;
    } else {
      out->push_back(line);
    }
  }
}

}  // namespace

UsageReader::UsageReader(std::string dsn) : dsn_(std::move(dsn)) {}

template <class Work>
auto UsageReader::ask(Work work) {
  for (int tries = 1;; ++tries) {
    try {
      if (!connection_) {
        connection_ = std::make_unique<pqxx::connection>(dsn_);
        pqxx::nontransaction session(*connection_);
        session.exec0("SET statement_timeout = '25s'");
        session.exec0("SET default_transaction_read_only = on");
      }
      pqxx::transaction<pqxx::isolation_level::repeatable_read> session(*connection_);
      return work(session);
    } catch (const pqxx::sql_error& error) {
      connection_.reset();
      if (error.sqlstate() == "57014") throw UsageTooMuch(
            "this takes too long: ask for a shorter time or longer windows");
      // A rebuild replaces the tables by a rename.
      if (tries == kTries || error.sqlstate().substr(0, 2) != "42") {
        throw UsageUnavailable(error.what());
      }
    } catch (const std::exception& error) {
      connection_.reset();
      if (tries == kTries) throw UsageUnavailable(error.what());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

UsagePage UsageReader::rows(const UsageQuestion& question) {
  UsagePage page;
  std::optional<Marker> marker;
  if (!question.marker.empty()) {
    marker = parse_marker(question.marker);
    page.bad_marker = !marker;
    if (!marker) return page;
  }
  // Nothing of a page is before the end of the page before it.
  const int64_t from = std::max(begin_of(question.window, question.from_ms),
                                marker ? marker->window_ms : 0);
  std::vector<UsageRow> lines;
  std::optional<UsageRow> last_group;  // when there may be more of them
  ask([&](auto& session) {
    lines.clear();
    const std::string sql = rows_sql(question);
    const auto limit = static_cast<int64_t>(question.limit) + 1;
    const auto result =
        marker ? session.exec_params(sql, from, question.to_ms, question.project_id,
                                     question.instance_id, question.node_id, limit,
                                     marker->window_ms, marker->project_id, marker->instance_id,
                                     marker->node_id)
               : session.exec_params(sql, from, question.to_ms, question.project_id,
                                     question.instance_id, question.node_id, limit);
    for (const auto& row : result) put_lines(question, row, &lines);
    last_group.reset();
    if (static_cast<int64_t>(result.size()) == limit) {
      last_group = key_of(question, result.back());
    }
    return 0;
  });
  if (marker) {
    const auto is_before = [&](const UsageRow& row) {
      const auto id = [](const std::string& uuid) { return uuid.empty() ? kNoNode : uuid; };
      return row.window_start_ms == marker->window_ms && id(row.project_id) == marker->project_id &&
             id(row.instance_id) == marker->instance_id && id(row.node_id) == marker->node_id &&
             static_cast<size_t>(row.meter) <= marker->meter;
    };
    std::erase_if(lines, is_before);
  }
  if (lines.size() > question.limit) {
    lines.resize(question.limit);
    page.next_marker = marker_text(lines.back(), static_cast<size_t>(lines.back().meter));
  } else if (last_group) {
    page.next_marker = marker_text(*last_group, kMeters);
  }
  page.rows = std::move(lines);
  return page;
}

UsageReader::Sums UsageReader::sums(const std::string& project_id,
                                    const std::vector<Segment>& segments, int64_t at_position,
                                    std::optional<int64_t> next_close_ms) {
  Sums out;
  std::map<std::pair<size_t, std::string>, std::array<Int128, kMeters>> amounts;
  const auto take = [&](size_t segment, const pqxx::result& rows, int sign) {
    for (const auto& row : rows) {
      auto& into = amounts[{segment, row[0].c_str()}];
      for (size_t i = 0; i < kMeters; ++i) {
        into[i] += sign * quantity_of(row[static_cast<int>(i) + 1]);
      }
    }
  };
  ask([&](auto& session) {
    amounts.clear();
    // Nobody drops what the checkpoint promises while this looks.
    session.exec0("LOCK TABLE usage.record IN ACCESS SHARE MODE");
    const auto row = session.exec1(kCheckpoint);
    out.checkpoint = checkpoint_of(row);
    const bool in_the_past = at_position != 0 && at_position < out.checkpoint.position;
    out.known = !in_the_past || !next_close_ms ||
                *next_close_ms >= out.checkpoint.records_from_ms;
    if (!out.known) return 0;
    for (size_t i = 0; i < segments.size(); ++i) {
      take(i, session.exec_params(
                  "SELECT h.instance_id, " + sums_of_meters() +
                      " FROM usage.instance i JOIN usage.hour h USING (instance_id) "
                      "WHERE i.project_id = $1 AND hour_ms >= $2 AND hour_ms < $3 GROUP BY 1",
                  project_id, segments[i].from_ms, segments[i].to_ms), 1);
      if (!in_the_past) continue;
      take(i, session.exec_params(
                  "SELECT instance_id, " + sums_of_meters() +
                      " FROM usage.record WHERE project_id = $1 AND window_start_ms >= $2 "
                      "AND window_start_ms < $3 AND position > $4 GROUP BY 1",
                  project_id, segments[i].from_ms, segments[i].to_ms, at_position), -1);
    }
    return 0;
  });
  for (const auto& [key, quantities] : amounts) {
    for (size_t i = 0; i < kMeters; ++i) {
      if (quantities[i] == 0) continue;
      out.used.push_back({key.first, key.second, static_cast<Meter>(i), quantities[i]});
    }
  }
  return out;
}

std::map<std::string, std::string> UsageReader::names(const std::string& project_id) {
  return ask([&](auto& session) {
    std::map<std::string, std::string> out;
    for (const auto& row : session.exec_params(
             "SELECT instance_id, name FROM usage.instance WHERE project_id = $1", project_id)) {
      out[row[0].c_str()] = row[1].c_str();
    }
    return out;
  });
}

std::optional<std::string> UsageReader::project_of(const std::string& instance_id) {
  return ask([&](auto& session) -> std::optional<std::string> {
    const auto rows = session.exec_params(
        "SELECT project_id FROM usage.instance WHERE instance_id = $1", instance_id);
    if (rows.empty()) return std::nullopt;
    return std::string(rows[0][0].c_str());
  });
}

std::optional<std::string> UsageReader::instance_of(const std::string& node_id) {
  return ask([&](auto& session) -> std::optional<std::string> {
    const auto rows =
        session.exec_params("SELECT instance_id FROM usage.node WHERE node_id = $1", node_id);
    if (rows.empty()) return std::nullopt;
    return std::string(rows[0][0].c_str());
  });
}

std::vector<std::string> UsageReader::hosts_of(const UsageLine& line) {
  return ask([&](auto& session) {
    std::vector<std::string> out;
    for (const auto& row : session.exec_params(
             "SELECT DISTINCT host FROM usage.node WHERE instance_id = $1 "
             "AND ($2 = '' OR node_id = nullif($2, '')::uuid)",
             line.instance_id, line.node_id)) {
      out.emplace_back(row[0].c_str());
    }
    return out;
  });
}

int64_t UsageReader::last_position_of(const UsageLine& line) {
  return ask([&](auto& session) {
    const auto row = session.exec_params1(
        "SELECT coalesce(max(position), 0) FROM usage.record WHERE instance_id = $1 "
        "AND window_start_ms >= $2 AND window_start_ms < $3 "
        "AND ($4 = '' OR node_id = nullif($4, '')::uuid)",
        line.instance_id, line.from_ms, line.to_ms, line.node_id);
    return row[0].template as<int64_t>();
  });
}

UsageCheckpoint UsageReader::checkpoint() {
  return ask([&](auto& session) {
    const auto row = session.exec1(kCheckpoint);
    return checkpoint_of(row);
  });
}

}  // namespace trunkline::metering
