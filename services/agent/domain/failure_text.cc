#include "agent/domain/failure_text.h"

#include "base/utf8.h"

namespace trunkline::agent {

std::vector<ObjectFailure> in_bounds(std::vector<ObjectFailure> failures) {
  size_t texts = 0;
  for (ObjectFailure& failure : failures) {
    const size_t most = texts++ < kFailuresWithText ? kFailureBytes : 0;
    failure.message = bounded_text(failure.message, most);
  }
  return failures;
}

}  // namespace trunkline::agent
