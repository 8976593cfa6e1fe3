#!/bin/bash
# Starts the platform of one home and, unless DETACH=1, stays until Ctrl-C. Needs what setup.sh
# installs and what `make build` makes.  usage: run.sh [--check]   (only whether it may start)
# In: TRUNKLINE_HOME, TRUNKLINE_PORT_BASE, DETACH, TRUNKLINE_BIN_DIR (default build/bin),
#     TRUNKLINE_DEMO=0 (no demo instance).
# A shell ignores Ctrl-C for ever if it was started in the background of a script; undo that.
if [[ -z ${TRUNKLINE_RUN_SIGNALS:-} ]]; then
  TRUNKLINE_RUN_SIGNALS=set exec env --default-signal=INT bash "$0" "$@"
fi
unset TRUNKLINE_RUN_SIGNALS
source "$(dirname "$0")/common.sh"
source "$repo/scripts/home.sh"
source "$repo/scripts/config.sh"
source "$repo/scripts/demo.sh"
bin_dir=${TRUNKLINE_BIN_DIR:-$repo/build/bin}

refuse_if_running() {
  is_running || return 0
  local url
  url=$(jq -r .api "$home/run.json" 2>/dev/null || echo "$api")
  die "already running: $url (home $asked_home, pid $(supervisor_pid)); to stop it: make stop"
}

refuse_if_port_taken() {
  local port
  for port in "$rest_port" "$nats_port"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      die "port $port on 127.0.0.1 is taken by somebody else: choose another TRUNKLINE_PORT_BASE"
    fi
  done
  [[ -z ${TRUNKLINE_NETWORK:-} ]] || return 0
  for port in "$proxy_port" "$pooled_port"; do
    if (exec 3<>"/dev/tcp/$proxy_address/$port") 2>/dev/null; then
      die "port $port on $proxy_address, the proxy's, is taken by somebody else: perhaps a server" \
        "that listens on all addresses (0.0.0.0), which must then name those that it needs"
    fi
  done
}

refuse_if_not_executable() {
  [[ -x $home/bin/trunkline-supervisor ]] ||
    die "programs in $home/bin cannot be run: it is on a file system mounted noexec;" \
      "choose another TRUNKLINE_HOME"
}

refuse_if_program_missing() {
  local name programs=(supervisor gateway lookup provisioner replication metering agent keeper proxy)
  for name in trunkline trunkline-node.so trunkline-guard-15.so "${programs[@]/#/trunkline-}"; do
    [[ -x $bin_dir/$name ]] || die "no $name in $bin_dir: make build"
  done
}

# PostgreSQL's shared memory; a chroot or container may have no place for it.
refuse_if_no_shared_memory() {
  runs_as "$node_user" test -w /dev/shm ||
    die "user $node_user cannot write to /dev/shm, which PostgreSQL needs: mount a tmpfs there" \
      "(mount -t tmpfs -o mode=1777 tmpfs /dev/shm)"
}

stop_supervisor() {
  local pid=$1
  trap '' INT TERM HUP
  trap - EXIT
  step stop "services, nodes, log and bus"
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || true
  wait  # for the last of its news
  step stop "done; state is kept in $asked_home"
}

start_supervisor() {
  : >>"$supervisor_log"
  log_lines=$(wc -l <"$supervisor_log")
  local keep=(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" LANG=C.UTF-8) name
  for name in $(compgen -e | grep -E '^(OTEL_|TRUNKLINE_|TZ$|[A-Z]*SAN_OPTIONS$)' || true); do
    keep+=("$name=${!name}")
  done
  env -i "${keep[@]}" setsid "$home/bin/trunkline-supervisor" --config "$processes_file" \
    </dev/null >>"$supervisor_log" 2>&1 9>&- &
  supervisor=$!
  # However this script ends before the platform is up (or in the foreground), it stops all.
  trap 'stop_supervisor "$supervisor"' EXIT
  trap 'exit 130' INT TERM HUP
}

# Log lines of this start of the supervisor.
own_log_lines() { tail -n "+$((log_lines + 1))" "$supervisor_log"; }

explain_failure() {
  warn "$1; the last lines of $supervisor_log:"
  own_log_lines | tail -15 >&2
  exit 1
}

# WHAT SECONDS COMMAND...: until the command succeeds, or the supervisor dies, or time is up.
wait_until() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@"; do
    kill -0 "$supervisor" 2>/dev/null || explain_failure "the supervisor ended before $what"
    ((SECONDS < end)) || explain_failure "$what did not come in time"
    sleep 0.05
  done
}

all_up() { [[ $(own_log_lines) == *'all processes are up'* ]]; }

# Where traces go, somebody can look at them: Jaeger's page, unless TRUNKLINE_JAEGER_URL says
# another.
jaeger_line() {
  local host=${OTEL_EXPORTER_OTLP_ENDPOINT:-}
  [[ -n $host ]] || return 0
  host=${host#*://}
  host=${host%%/*}
  echo "  traces  ${TRUNKLINE_JAEGER_URL:-http://${host%:*}:16686/search}"
}

print_ways_in() {
  cat <<END

Trunkline is up.
  REST    $api/v1/postgres/instances
  token   $asked_home/admin.token
  docs    $api/docs
  try     curl -H @'$asked_home/admin.header' $api/v1/postgres/instances
END
  jaeger_line
  demo_psql_line
  echo
}

attend() {
  echo "Ctrl-C stops everything; state is kept."
  # New lines of the supervisor's log are its news: deaths and restarts.
  tail -n 0 -s 0.1 -f --pid="$supervisor" "$supervisor_log" | sed -u 's/^[^ ]* /  news       /' &
  wait "$supervisor" || explain_failure "the supervisor ended"
  trap - EXIT
  wait
  warn "stopped by: make stop"
}

main() {
  refuse_if_running
  [[ ${1:-} != --check ]] || return 0
  refuse_if_program_missing
  refuse_if_port_taken  # before anything is made
  make_users
  refuse_if_no_shared_memory
  move_home_if_unreachable
  make_home
  exec 9>"$home/run/start.lock"
  flock -n 9 || die "another start of $asked_home is under way"
  refuse_if_running
  refuse_if_port_taken
  choose_socket_dir
  give_node_uids
  make_secrets
  make_certificates
  install_programs "$bin_dir"
  refuse_if_not_executable
  make_log_postgres
  write_service_configs
  write_process_list
  step home "$asked_home"

  ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
  start_supervisor
  wait_until "bus, log and services" 90 all_up
  step processes "$(jq -r '[.processes[].name] | join(" ")' "$home/run.json")"
  wait_until "a ready API" 60 api_ready
  wait_until "the first report of each host" 60 hosts_ready
  step api "$api"
  [[ ${TRUNKLINE_DEMO:-1} == 0 ]] || ensure_demo
  wait_for_demo
  exec 9>&-
  print_ways_in
  if [[ ${DETACH:-0} == 1 ]]; then
    trap - EXIT INT TERM HUP
  else
    attend
  fi
}

main "$@"
