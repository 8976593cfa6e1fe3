// Events of the log as people read them: payloads decoded, secrets masked. Pure; thread-safe.
#pragma once

#include <string>

#include "cli/json.h"
#include "eventlog/recorded_event.h"

namespace trunkline::cli {

// The payload's one event as JSON with the proto's field names, verifiers and token hashes replaced
// by "***". A payload that cannot be decoded gives {"undecodable": "<size>"}: bytes that nobody
// understands may hold a secret.
Json payload_json(const eventlog::RecordedEvent& event);

// The whole event: position, time, stream, version, type, actor, ids, traceparent, hash, payload.
Json event_json(const eventlog::RecordedEvent& event);

}  // namespace trunkline::cli
