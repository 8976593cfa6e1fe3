// A database's report as a page: text, tables and charts in SVG.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <vector>

#include "api-gateway/domain/observe.h"

namespace trunkline::gateway {
namespace {

constexpr int kWidth = 520, kHeight = 120, kLeft = 4, kTop = 8;

// Everything that comes from a tenant goes through here.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<double> number_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

json list_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : json::array();
}

enum class Unit { count, rate, bytes, bytes_rate, share, ms };

std::string plain(double value) {
  char buffer[40];
  const bool small = std::abs(value) < 100 && value != std::floor(value);
  std::snprintf(buffer, sizeof buffer, small ? "%.2f" : "%.0f", value);
  return buffer;
}

std::string with_unit(std::optional<double> value, Unit unit) {
  if (!value) return "–";
  static constexpr const char* kPrefixes[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double scaled = *value;
  size_t prefix = 0;
  switch (unit) {
    case Unit::count: return plain(scaled);
    case Unit::rate: return plain(scaled) + "/s";
    case Unit::share: return plain(scaled * 100) + " %";
    case Unit::ms: return plain(scaled) + " ms";
    case Unit::bytes:
    case Unit::bytes_rate: break;
  }
  while (scaled >= 1024 && prefix + 1 < std::size(kPrefixes)) {
    scaled /= 1024;
    ++prefix;
  }
  return plain(scaled) + " " + kPrefixes[prefix] + (unit == Unit::bytes_rate ? "/s" : "");
}

struct Points {
  std::vector<double> x;
  std::vector<std::optional<double>> y;
  double highest = 0;
};

Points points_of(const json& history, const char* key) {
  Points out;
  const json times = list_of(history, "times"), values = list_of(history, key);
  for (size_t i = 0; i < times.size() && i < values.size(); ++i) {
    if (!times[i].is_number()) continue;
    out.x.push_back(times[i].get<double>());
    out.y.push_back(values[i].is_number() ? std::optional(values[i].get<double>()) : std::nullopt);
    out.highest = std::max(out.highest, out.y.back().value_or(0));
  }
  return out;
}

// Where nothing is known the line has a gap.
std::string path_of(const Points& points) {
  const double first = points.x.front();
  const double span = std::max(points.x.back() - first, 1.0);
  const double top = points.highest > 0 ? points.highest : 1;
  std::string out;
  bool down = false;
  for (size_t i = 0; i < points.x.size(); ++i) {
    if (!points.y[i]) {
      down = false;
      continue;
    }
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, "%c%.1f %.1f", down ? 'L' : 'M',
                  kLeft + (points.x[i] - first) / span * (kWidth - 2 * kLeft),
                  kTop + (1 - std::max(*points.y[i], 0.0) / top) * (kHeight - 2 * kTop));
    out += buffer;
    down = true;
  }
  return out;
}

std::string chart(const json& history, const char* key, const char* title, Unit unit) {
  const Points points = points_of(history, key);
  std::string out = "<figure><figcaption>" + escaped(title);
  if (points.x.size() < 2) {
    return out + "</figcaption><p class=\"none\">no history yet</p></figure>";
  }
  out += " <b>" + with_unit(points.y.back(), unit) + "</b> <span>highest " +
         with_unit(points.highest, unit) + "</span></figcaption>";
  out += "<svg viewBox=\"0 0 " + std::to_string(kWidth) + " " + std::to_string(kHeight) +
         "\" role=\"img\" aria-label=\"" + escaped(title) + "\"><path class=\"axis\" d=\"M0 " +
         std::to_string(kHeight - kTop) + "H" + std::to_string(kWidth) + "\"/><path d=\"" +
         path_of(points) + "\"/></svg></figure>";
  return out;
}

std::string row(const std::vector<std::string>& cells) {
  std::string out = "<tr>";
  for (const auto& cell : cells) out += "<td>" + cell + "</td>";
  return out + "</tr>";
}

std::string head_row(const std::vector<std::string>& cells) {
  std::string out = "<tr>";
  for (const auto& cell : cells) out += "<th>" + cell + "</th>";
  return out + "</tr>";
}

std::string findings(const json& report) {
  const json health = report.value("health", json::object());
  const std::string status = text_of(health, "status");
  std::string out = "<p class=\"health " + escaped(status) + "\">" + escaped(status) + "</p>";
  const json list = list_of(health, "findings");
  if (list.empty()) return out + "<p>Nothing is amiss.</p>";
  out += "<ul>";
  for (const auto& finding : list) {
    out += "<li class=\"" + escaped(text_of(finding, "severity")) + "\">" +
           escaped(text_of(finding, "text")) + "</li>";
  }
  return out + "</ul>";
}

std::string now_table(const json& now) {
  static constexpr struct {
    const char* key;
    const char* title;
    Unit unit;
  } kRows[] = {
      {"size_bytes", "Size", Unit::bytes},
      {"connections", "Connections", Unit::count},
      {"cache_hit_ratio", "Blocks found in memory", Unit::share},
      {"commits", "Transactions committed", Unit::count},
      {"rollbacks", "Transactions rolled back", Unit::count},
      {"rows_returned", "Rows read", Unit::count},
      {"rows_inserted", "Rows inserted", Unit::count},
      {"rows_updated", "Rows updated", Unit::count},
      {"rows_deleted", "Rows deleted", Unit::count},
      {"temp_bytes", "Temporary files", Unit::bytes},
      {"deadlocks", "Deadlocks", Unit::count},
  };
  std::string out = "<table>";
  for (const auto& r : kRows) out += row({r.title, with_unit(number_of(now, r.key), r.unit)});
  return out + "</table>";
}

std::string node_table(const json& nodes) {
  std::string out = "<table>" + head_row({"Node", "Role", "Answers", "Connections", "CPU cores",
                                          "Memory", "Disk", "Behind"});
  for (const auto& node : nodes) {
    out += row({escaped(text_of(node, "host")), escaped(text_of(node, "role")),
                node.value("answers", false) ? "yes" : "no",
                with_unit(number_of(node, "connections"), Unit::count),
                with_unit(number_of(node, "cpu_cores"), Unit::count),
                with_unit(number_of(node, "memory_bytes"), Unit::bytes),
                with_unit(number_of(node, "disk_used_bytes"), Unit::bytes),
                with_unit(number_of(node, "replication_lag_bytes"), Unit::bytes)});
  }
  return out + "</table>";
}

std::string statement_table(const json& statements) {
  if (statements.empty()) return "<p class=\"none\">none yet</p>";
  std::string out =
      "<table class=\"wide\">" + head_row({"Statement", "Calls", "Total", "Mean", "Rows"});
  for (const auto& statement : statements) {
    out += row({"<code>" + escaped(text_of(statement, "query")) + "</code>",
                with_unit(number_of(statement, "calls"), Unit::count),
                with_unit(number_of(statement, "total_ms"), Unit::ms),
                with_unit(number_of(statement, "mean_ms"), Unit::ms),
                with_unit(number_of(statement, "rows"), Unit::count)});
  }
  return out + "</table>";
}

constexpr char kStyle[] =
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1120px;padding:0 1em;"
    "color:#1b2733}h1{margin-bottom:0}h2{margin-top:1.6em;font-size:1.1em}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:1em}"
    "figure{margin:0;border:1px solid #d5dde5;border-radius:6px;padding:.6em}"
    "figcaption span,.none,.about{color:#66788a}svg{width:100%;height:auto}"
    "path{fill:none;stroke:#1d6fb8;stroke-width:1.6}.axis{stroke:#d5dde5}"
    "table{border-collapse:collapse}td,th{padding:.2em .9em .2em 0;text-align:left;"
    "vertical-align:top;border-bottom:1px solid #e8edf2}.wide{width:100%}code{white-space:pre-wrap;"
    "word-break:break-word}.health{display:inline-block;padding:.1em .8em;border-radius:1em;"
    "color:#fff;background:#66788a}.GOOD{background:#2c8a4b}.FAIR{background:#b7791f}"
    ".BAD{background:#b83232}.serious{font-weight:600}";

}  // namespace

std::string report_page(const std::string& report_json) {
  const json report = json::parse(report_json, nullptr, false);
  if (!report.is_object()) return "";
  const std::string name = escaped(text_of(report, "name"));
  const json history = report.value("history", json::object());
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + name +
      "</title><meta name=\"viewport\" content=\"width=device-width\"><style>" + kStyle +
      "</style></head><body><h1>" + name + "</h1><p class=\"about\">database of " +
      escaped(text_of(report, "instance_name")) + " (" +
      escaped(text_of(report, "instance_status")) + "), as of " +
      escaped(text_of(report, "made_at")) + "</p>";
  out += findings(report);
  out += "<h2>From " + escaped(text_of(history, "from")) + " to " +
         escaped(text_of(history, "to")) + "</h2><div class=\"charts\">";
  out += chart(history, "transactions_per_second", "Transactions", Unit::rate);
  out += chart(history, "connections", "Connections", Unit::count);
  out += chart(history, "size_bytes", "Size", Unit::bytes);
  out += chart(history, "cache_hit_ratio", "Blocks found in memory", Unit::share);
  out += chart(history, "rows_read_per_second", "Rows read", Unit::rate);
  out += chart(history, "rows_written_per_second", "Rows written", Unit::rate);
  out += chart(history, "temp_bytes_per_second", "Temporary files", Unit::bytes_rate);
  out += chart(history, "deadlocks_per_second", "Deadlocks", Unit::rate);
  out += "</div><h2>Now</h2>" + now_table(report.value("now", json::object()));
  out += "<h2>Nodes</h2>" + node_table(list_of(report, "nodes"));
  out += "<h2>Statements that took the most time</h2>" +
         statement_table(list_of(report, "slow_statements"));
  return out + "</body></html>\n";
}

}  // namespace trunkline::gateway
