# Sourced by common.sh: where the parts of a platform are. Here: all on this machine, each at an
# address of its own where it needs one. deploy/docker/place.sh says the same of containers; the
# images name it in TRUNKLINE_PLACE.
# In: home, asked_home, port_base, hosts. What a home's path decides is set by set_places.

set_places() {
  rest_port=$port_base
  nats_port=$((port_base + 1))
  log_port=$((port_base + 2))
  proxy_port=5432
  pooled_port=6432
  proxy_address=$(platform_address 10)  # where nodes see it come from
  proxy_listen=$proxy_address
  metrics_address=127.$((port_base >> 8)).$((port_base & 255)).9
  rest_listen=127.0.0.1:$rest_port
  nats_listen=127.0.0.1:$nats_port
  [[ -z ${TRUNKLINE_NETWORK:-} ]] || nats_listen=0.0.0.0:$nats_port
  # What clients are told, and the ports of it that instances get ("": as many as there are).
  endpoint_address=$proxy_address
  endpoint_ports=
  api=http://127.0.0.1:$rest_port
  programs_dir=$home/bin
  share_dir=$home/bin
  swagger_dir=$home/swagger-ui
  log_data_dir=$home/log-postgres
  proxy_tls_dir=$home/proxy-tls
  admin_dir=$home             # what is for the platform's administrator to read
  shown_admin_dir=$asked_home  # and where he finds it
  socket_parent=$home/sock
  pid_dir=$home/run
  run_file=$home/run.json
  uid_slots=/var/lib/trunkline/uid-slots
}

# 127.<high byte>.<low byte of the port base>.LAST, so that copies do not meet. TRUNKLINE_NETWORK (a
# test's: "10.77.0") puts the hosts and the proxy behind a network that can be cut: each runs in the
# network namespace that has its name, and reaches the bus at LAST 1.
platform_address() {
  local network=${TRUNKLINE_NETWORK:-127.$((port_base >> 8)).$((port_base & 255))}
  printf '%s.%d' "$network" "$1"
}

# SERVICE: the bus, as it reaches it.
bus_address() {
  if [[ -n ${TRUNKLINE_NETWORK:-} && $1 =~ ^(proxy|agent)$ ]]; then
    platform_address 1
  else
    printf 127.0.0.1
  fi
}

# Where the proxy finds the sockets of all nodes; nothing: it is not on their machine.
node_sockets() { [[ -n ${TRUNKLINE_NETWORK:-} ]] || printf %s "$socket_dir"; }

# Where a process shows its metrics: one address for all of a home, a port each.
metrics_listen() { # SERVICE [HOST]
  local index services=(api-gateway provisioner replication lookup metering proxy)
  for index in "${!services[@]}"; do
    [[ ${services[index]} != "$1" ]] || printf '%s:%d' "$metrics_address" $((9101 + index))
  done
  for index in "${!hosts[@]}"; do
    [[ ${hosts[index]} != "${2-}" ]] || printf '%s:%d' "$metrics_address" $((9121 + index))
  done
}
# And where Prometheus finds it.
metrics_target() { metrics_listen "$@"; }

# PROCESS: where what it prints goes; nothing: to where its supervisor's goes.
process_log() { printf '%s' "$home/logs/$1.log"; }

# PROCESS FILE: a file of its configuration.
config_file() { printf '%s' "$home/etc/$2"; }
