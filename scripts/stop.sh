#!/bin/bash
# Stops the platform of one home and waits until all is down; also what a crash left running.
source "$(dirname "$0")/common.sh"

if [[ ! -e $home ]]; then
  echo "nothing to stop: $asked_home is not there"
  exit 0
fi
require_own_home
if is_running; then
  pid=$(supervisor_pid)
  step stop "services, nodes, log and bus (supervisor $pid)"
  kill -TERM "$pid"
  for ((i = 0; i < 1800; i++)); do
    is_running || break
    sleep 0.1
  done
  is_running && die "still not down after 180 s; see $supervisor_log"
elif [[ -s $processes_file && -x $home/bin/trunkline-supervisor ]]; then
  step stop "no supervisor; stopping what it may have left"
  "$home/bin/trunkline-supervisor" --config "$processes_file" --stop-leftovers \
    >>"$supervisor_log" 2>&1 || die "could not stop all; see $supervisor_log"
fi
step stop "all is down; state is kept in $asked_home"
