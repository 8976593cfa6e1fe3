#!/bin/bash
# The last container: waits until all is up, orders the demo, prints the ways in; or says what is
# wrong.  TRUNKLINE_DEMO=0: no demo; TRUNKLINE_WELCOME_SECONDS: how long it waits for each.
source /usr/share/trunkline/scripts/common.sh
source "$repo/scripts/config.sh"
source "$repo/scripts/home.sh"
source "$repo/scripts/demo.sh"

trap 'exit 143' TERM
port=${TRUNKLINE_PORT_BASE:-8080}
patience=${TRUNKLINE_WELCOME_SECONDS:-120}

# WHAT SECONDS COMMAND...
wait_until() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@"; do
    refuse_if_init_failed
    ((SECONDS < end)) || explain "$what"
    sleep 0.2
  done
}

refuse_if_init_failed() {
  [[ ! -e $admin_dir/init.failed ]] || {
    cat "$admin_dir/init.failed" >&2
    exit 1
  }
}

# A container that could not be started (its port is taken, say) has no name in the network.
explain() {
  local name missing=()
  for name in nats log lookup provisioner replication metering api-gateway proxy "${hosts[@]}"; do
    timeout 1 getent hosts "$name" >/dev/null || missing+=("$name")
  done
  warn "$1 did not come in time"
  ((${#missing[@]} == 0)) ||
    warn "not running: ${missing[*]}. If docker says 'port is already allocated' or 'address" \
      "already in use', choose another TRUNKLINE_PORT_BASE, TRUNKLINE_PROXY_PORT," \
      "TRUNKLINE_POOLED_PORT or TRUNKLINE_ENDPOINT_PORTS (.env.example); else:" \
      "docker compose logs ${missing[*]}"
  exit 1
}

init_done() { [[ -e $admin_dir/init.done ]]; }
demo_accepts() {
  local _ demo_port
  read -r _ demo_port < <(demo_endpoint) || return 0
  (exec 3<>"/dev/tcp/proxy/$demo_port") 2>/dev/null
}

print_ways_in() {
  local compose="docker compose" _ demo_port
  cat <<END

Trunkline is up.
  REST    http://$endpoint_address:$port/v1/postgres/instances
  docs    http://$endpoint_address:$port/docs
  token   $compose run --rm -T cli show admin.token
  cli     $compose run --rm cli instances list
END
  [[ ${OTEL_EXPORTER_OTLP_ENDPOINT-} != http://jaeger:* ]] ||
    echo "  traces  http://$endpoint_address:${JAEGER_PORT:-16686}/search"
  read -r _ demo_port < <(demo_endpoint) || return 0
  cat <<END
  psql    $compose run --rm cli psql -p $demo_port -U demo demo
          with password: $compose run --rm -T cli show demo.password
          from outside:  psql -h $endpoint_address -p $demo_port -U demo demo
END
}

wait_until "the configuration (docker compose logs init)" "$patience" init_done
wait_until "a ready API" "$patience" api_ready
wait_until "the first report of each host" "$patience" hosts_ready
[[ ${TRUNKLINE_DEMO:-1} == 0 ]] || ensure_demo
wait_until "an open demo" "$patience" demo_accepts
print_ways_in
