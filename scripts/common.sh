# Sourced by the other scripts: where things are, and a few words to speak with.
# In:  TRUNKLINE_HOME, TRUNKLINE_PORT_BASE (environment). Out: the variables set below.

set -Eeuo pipefail
trap 'echo "trunkline: ${BASH_SOURCE[0]}:$LINENO failed: $BASH_COMMAND" >&2' ERR
export LC_ALL=C
# A root shell by `su` has no sbin in its path, nor has a user's.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
port_base=${TRUNKLINE_PORT_BASE:-8080}
asked_home=$(realpath -ms -- "${TRUNKLINE_HOME:-$repo/.run}")  # the path that the user knows
home=$(realpath -m -- "$asked_home")                           # the same, links followed
home_hash=$(printf '%s' "$asked_home" | sha256sum | cut -c1-10)
hosts=(host-a host-b host-c)
source "${TRUNKLINE_PLACE:-$repo/scripts/place.sh}"

step() { printf '  %-10s %s\n' "$1" "$2"; }
warn() { printf 'trunkline: %s\n' "$*" >&2; }
die() { warn "$@"; exit 1; }

as_root() { [[ $EUID -eq 0 ]]; }

# The users that own things: two system users if root runs this, else whoever does.
if as_root; then
  service_user=trunkline node_user=trunkline-node
else
  service_user=$(id -un) node_user=$(id -un)
fi

if ! [[ $port_base =~ ^[0-9]+$ ]] || ((port_base < 1024 || port_base > 65000)); then
  die "TRUNKLINE_PORT_BASE must be a number from 1024 to 65000, not '$port_base'"
fi

# Reads what is fixed when a home is made; makes the variables of this home.
load_home() {
  set_places
  home_uid_name=${home//\\/\\\\}
  home_uid_name=${home_uid_name// /\\040}  # one word of a line
  supervisor_log=$home/logs/supervisor.log
  processes_file=$home/etc/processes.json
}

host_zone() { printf '%s' "${1#host-}"; }
host_address() {
  local i
  for i in "${!hosts[@]}"; do
    [[ ${hosts[i]} == "$1" ]] || continue
    platform_address $((11 + i))
  done
}

# True while a supervisor holds this home.
is_running() {
  [[ -e $home/run/supervisor.lock ]] && ! flock -n "$home/run/supervisor.lock" true
}
supervisor_pid() { cat "$home/run/supervisor.lock" 2>/dev/null; }

# Refuses a directory that is not ours: scripts delete and chown here.
require_own_home() {
  local marker=$home/.trunkline-home
  [[ -e $marker ]] || die "$asked_home is not a Trunkline home (no .trunkline-home in it)"
  [[ -O $marker ]] ||
    die "$asked_home belongs to $(stat -c %U "$marker"): choose another TRUNKLINE_HOME"
}

# The directory of PostgreSQL's programs for the log: 15, or the newest that there is.
find_postgres_bin() {
  if [[ -x /usr/lib/postgresql/15/bin/postgres ]]; then
    echo /usr/lib/postgresql/15/bin
  else
    find /usr/lib/postgresql/*/bin -name postgres -printf '%h\n' 2>/dev/null | sort -V | tail -1
  fi
}

load_home
