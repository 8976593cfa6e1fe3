// Keeps a log file that others append to under a size: copies it to "<file>.1" and empties it in
// place, so that the writer need not know. Lines written between the two are lost.
#pragma once

#include <cstdint>
#include <string>

namespace trunkline::supervisor {

// True if it was over the size and has been rotated. A file that cannot be read is left alone.
bool rotate_if_larger(const std::string& path, int64_t limit_bytes);

}  // namespace trunkline::supervisor
