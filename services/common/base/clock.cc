#include "base/clock.h"

#include <cstdio>

namespace trunkline {
namespace {

using std::chrono::days;
using std::chrono::microseconds;
using std::chrono::sys_days;
using std::chrono::year_month_day;

// Reads exactly `digits` decimal digits at the front of `text`; -1 if they are not there.
int take_number(std::string_view& text, size_t digits) {
  if (text.size() < digits) return -1;
  int value = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string format_rfc3339(TimePoint t) {
  const auto day = std::chrono::floor<days>(t);
  const year_month_day date(day);
  const int64_t us = (t - day).count();
  char out[64];
  std::snprintf(out, sizeof out, "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ",
                static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(us / 3'600'000'000),
                static_cast<int>(us / 60'000'000 % 60), static_cast<int>(us / 1'000'000 % 60),
                static_cast<int>(us % 1'000'000));
  return out;
}

std::optional<TimePoint> parse_rfc3339(std::string_view text) {
  const int year = take_number(text, 4);
  if (year < 1 || !take_char(text, "-")) return std::nullopt;
  const int month = take_number(text, 2);
  if (month < 0 || !take_char(text, "-")) return std::nullopt;
  const int day = take_number(text, 2);
  const year_month_day date{std::chrono::year(year),
                            std::chrono::month(static_cast<unsigned>(month)),
                            std::chrono::day(static_cast<unsigned>(day))};
  if (day < 0 || !date.ok() || !take_char(text, "Tt ")) return std::nullopt;
  const int hour = take_number(text, 2);
  if (hour < 0 || hour > 23 || !take_char(text, ":")) return std::nullopt;
  const int minute = take_number(text, 2);
  if (minute < 0 || minute > 59 || !take_char(text, ":")) return std::nullopt;
  const int second = take_number(text, 2);
  if (second < 0 || second > 60) return std::nullopt;
  int64_t fraction_us = 0;
  if (take_char(text, ".")) {
    int64_t scale = 100'000;
    size_t digits = 0;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
      fraction_us += (text.front() - '0') * scale;
      scale /= 10;
      text.remove_prefix(1);
      if (++digits > 9) return std::nullopt;
    }
    if (digits == 0) return std::nullopt;
  }
  int offset_minutes = 0;
  if (!take_char(text, "Zz")) {
    const bool west = !text.empty() && text.front() == '-';
    if (!take_char(text, "+-")) return std::nullopt;
    const int hours = take_number(text, 2);
    if (hours < 0 || hours > 23 || !take_char(text, ":")) return std::nullopt;
    const int minutes = take_number(text, 2);
    if (minutes < 0 || minutes > 59) return std::nullopt;
    offset_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
  }
  if (!text.empty()) return std::nullopt;
  const int64_t day_seconds = hour * 3600 + minute * 60 + second - offset_minutes * 60;
  return TimePoint(sys_days(date)) + std::chrono::seconds(day_seconds) + microseconds(fraction_us);
}

}  // namespace trunkline
