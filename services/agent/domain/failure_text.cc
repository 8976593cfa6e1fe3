#include "agent/domain/failure_text.h"

#include <algorithm>

#include "base/utf8.h"

namespace trunkline::agent {
namespace {

bool is_password(const ObjectNote& note) { return note.what == "password_changed"; }

}  // namespace

std::vector<ObjectFailure> in_bounds(std::vector<ObjectFailure> failures) {
  size_t texts = 0;
  for (ObjectFailure& failure : failures) {
    const size_t most = texts++ < kFailuresWithText ? kFailureBytes : 0;
    failure.message = bounded_text(failure.message, most);
  }
  return failures;
}

std::vector<ObjectNote> notes_to_report(std::vector<ObjectNote> reported,
                                        const std::vector<ObjectNote>& fresh,
                                        int64_t oldest_unix_us, uint64_t turn) {
  std::erase_if(reported, [&](const ObjectNote& note) {
    return is_password(note) || note.seen_unix_us < oldest_unix_us;
  });
  std::vector<ObjectNote> out;
  for (const ObjectNote& note : fresh) (is_password(note) ? out : reported).push_back(note);
  if (!out.empty()) {
    std::rotate(out.begin(), out.begin() + static_cast<ptrdiff_t>(turn % out.size()), out.end());
  }
  out.resize(std::min(out.size(), kMostNotes));
  const size_t skipped = reported.size() - std::min(reported.size(), kMostNotes);
  out.insert(out.end(), reported.begin() + static_cast<ptrdiff_t>(skipped), reported.end());
  return out;
}

}  // namespace trunkline::agent
