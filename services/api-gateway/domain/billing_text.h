// Answers of metering as the client gets them. Pure.
#pragma once

#include <string>
#include <vector>

namespace trunkline::gateway {

// A header and a row for each JSON object, RFC 4180.
std::string csv_text(const std::vector<std::string>& columns,
                     const std::vector<std::string>& documents);

// The first document is the invoice's head, each other one begins with the letter of the list that
// it belongs to (query.proto).
std::string invoice_text(const std::vector<std::string>& documents);
// Its lines alone.
std::vector<std::string> invoice_lines(const std::vector<std::string>& documents);

}  // namespace trunkline::gateway
