#!/bin/bash
# Prints the processes of one home and whether the API is healthy. Exit code 0: running and ready;
# 1: running, not ready; 3: not running.
source "$(dirname "$0")/common.sh"

if ! is_running; then
  echo "not running (home $asked_home)"
  exit 3
fi
echo "home $asked_home, supervisor $(supervisor_pid)"
printf '%-14s %8s %-8s %12s %8s\n' NAME PID STATE UP RSS_MB
jq -r '.processes[] | "\(.name) \(.pid)"' "$home/run.json" | while read -r name pid; do
  read -r up rss < <(ps -o etime=,rss= -p "$pid" 2>/dev/null) || true
  if [[ -n ${rss:-} ]]; then
    printf '%-14s %8s %-8s %12s %8s\n' "$name" "$pid" running "$up" $((rss / 1024))
  else
    printf '%-14s %8s %-8s\n' "$name" "$pid" down
  fi
done
url=$(jq -r .api "$home/run.json")
healthy=0
for check in healthz readyz; do
  code=$(curl -s -o /dev/null -m 3 -w '%{http_code}' "$url/$check") || true
  echo "$url/$check $code"
  [[ $code == 200 ]] || healthy=1
done
exit $healthy
