// Private to eventlog: a row of log.event as a RecordedEvent.
#pragma once

#include <pqxx/pqxx>

#include <string>

#include "eventlog/recorded_event.h"

namespace trunkline::eventlog {

// A bytea field in hexadecimal output form ("\x0a1b…").
inline std::string bytes_of(const pqxx::field& field) {
  const std::string_view text(field.c_str(), field.size());
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string out;
  if (text.size() < 2) return out;
  out.reserve(text.size() / 2);
  for (size_t i = 2; i + 1 < text.size(); i += 2) {
    out.push_back(static_cast<char>(digit(text[i]) << 4 | digit(text[i + 1])));
  }
  return out;
}

// Columns from `first` on, in the order of the table.
inline RecordedEvent event_of(const pqxx::row& row, int first) {
  const auto column = [&](int i) { return row[first + i]; };
  RecordedEvent event;
  event.position = column(0).as<int64_t>();
  event.stream = column(1).c_str();
  event.version = column(2).as<int64_t>();
  event.type = column(3).c_str();
  event.schema_version = static_cast<uint32_t>(column(4).as<int>());
  event.payload = bytes_of(column(5));
  event.metadata = {column(6).c_str(), column(7).c_str(), column(8).c_str(), column(9).c_str(),
                    column(10).c_str()};
  event.recorded_at = from_unix_us(column(11).as<int64_t>());
  event.previous_hash = bytes_of(column(12));
  event.hash = bytes_of(column(13));
  return event;
}

}  // namespace trunkline::eventlog
