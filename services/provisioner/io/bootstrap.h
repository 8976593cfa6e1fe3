// What a new platform starts with: the administrator's token and the versions on offer, from the
// configuration. Command ids are derived from the content, so each is done once for ever, also
// after an administrator has revoked or removed it. The token comes last: whoever can log in sees
// the versions. Returns when all is in the log.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "runtime/service_host.h"

namespace trunkline::provisioner {

void bootstrap(runtime::ServiceHost& host, const nlohmann::json& config);

}  // namespace trunkline::provisioner
