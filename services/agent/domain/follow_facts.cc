#include "agent/domain/follow_facts.h"

#include "agent/domain/lineage.h"

namespace trunkline::agent {

std::string cannot_follow_reason(const OwnEnd& own, const UpstreamState& upstream,
                                 uint64_t segment_bytes) {
  if (!upstream.is_open) return "";
  const bool both_known = own.system_identifier != 0 && upstream.system_identifier != 0;
  if (both_known && own.system_identifier != upstream.system_identifier) return "other_system";
  if (own.lsn == 0) return "";
  // It has what its upstream of the same timeline never had.
  if (own.timeline != 0 && own.timeline == upstream.timeline && own.lsn > upstream.flush_lsn) {
    return "diverged";
  }
  const std::string next = segment_name(0, own.lsn, segment_bytes).substr(8);
  if (upstream.oldest_segment.size() == next.size() && upstream.oldest_segment > next) {
    return "wal_removed";
  }
  return "";
}

}  // namespace trunkline::agent
