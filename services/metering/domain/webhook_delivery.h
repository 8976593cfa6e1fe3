// When a record goes to a receiver again, and when it is given up. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace trunkline::metering {

struct DeliveryPolicy {
  milliseconds first_pause{1'000};     // doubles with every try
  milliseconds longest_pause{300'000};
  milliseconds longest_wish{3'600'000};  // that a receiver may say with Retry-After
  milliseconds give_up_after{3LL * 24 * 3'600'000};
  // Of a record that the receiver itself refuses: a poison record must not block the others.
  uint32_t refusals = 5;
  milliseconds trouble_after{15 * 60'000};  // of trying one record
};

// What one try came to.
struct DeliveryResult {
  int status = 0;  // of HTTP; 0: no answer, see `error`
  std::string error;
  std::optional<milliseconds> retry_after;
};

// The tries of the record that is next.
struct DeliveryTries {
  uint32_t tries = 0;
  uint32_t refused = 0;  // of them
  TimePoint first_at;
  TimePoint next_at;     // not before
};

enum class DeliveryVerdict {
  delivered,
  again,
  dead,      // a dead letter; the next record's turn
  disabled,  // the receiver wants no more at all
};

// Counts the try in; `random` of 0..2^32-1 spreads the pauses.
DeliveryVerdict judge(const DeliveryPolicy& policy, const DeliveryResult& result, TimePoint now,
                      uint32_t random, DeliveryTries* tries);

// What of a webhook needs somebody's attention: "receiver_away", "dead_letters" or nothing.
std::string_view trouble_of(const DeliveryPolicy& policy, const DeliveryTries& tries,
                            int64_t dead_letters, TimePoint now);

// Of "120", seconds. A date is not understood: the own pause holds then.
std::optional<milliseconds> parse_retry_after(std::string_view text);

}  // namespace trunkline::metering
