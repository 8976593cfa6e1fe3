# Sourced by scripts/common.sh in the images, in place of scripts/place.sh: where the parts of a
# platform are when each process is a container of docker-compose.yml. Paths are the same in all;
# each sees the volumes that it needs.
# In: TRUNKLINE_SUBNET ("10.77.0"), TRUNKLINE_BIND, TRUNKLINE_ENDPOINT_PORTS ("20000-20019").

subnet=${TRUNKLINE_SUBNET:-10.77.0}

set_places() {
  rest_port=8080
  nats_port=4222
  log_port=5432
  proxy_port=5432
  pooled_port=6432
  proxy_address=$(platform_address 10)
  proxy_listen=0.0.0.0
  rest_listen=0.0.0.0:$rest_port
  nats_listen=0.0.0.0:$nats_port
  endpoint_address=${TRUNKLINE_BIND:-127.0.0.1}
  [[ $endpoint_address != 0.0.0.0 ]] ||
    die "TRUNKLINE_BIND is what clients are told, too: an address of this machine, not 0.0.0.0"
  endpoint_ports=$(ports_of "${TRUNKLINE_ENDPOINT_PORTS:-20000-20019}")
  api=http://api-gateway:$rest_port
  programs_dir=/usr/lib/trunkline
  share_dir=/usr/share/trunkline
  swagger_dir=$share_dir/swagger-ui
  log_data_dir=$home/log/data
  proxy_tls_dir=$home/etc/proxy/tls
  admin_dir=$home/admin
  shown_admin_dir=$admin_dir
  socket_parent=/run/trunkline
  pid_dir=/run/trunkline
  run_file=/run/trunkline/run.json
  uid_slots=$home/uid-slots
  # A number of its own for each copy: records of usage say which platform they are of.
  [[ ! -s $home/installation ]] || home_hash=$(<"$home/installation")
}

ports_of() {
  [[ $1 =~ ^([0-9]{4,5})-([0-9]{4,5})$ ]] &&
    ((BASH_REMATCH[1] < BASH_REMATCH[2] && BASH_REMATCH[2] < 65536)) ||
    die "TRUNKLINE_ENDPOINT_PORTS must be two ports, first-last, not '$1'"
  printf '{"first": %d, "count": %d}' "${BASH_REMATCH[1]}" \
    $((BASH_REMATCH[2] - BASH_REMATCH[1] + 1))
}

platform_address() { printf '%s.%d' "$subnet" "$1"; }
bus_address() { printf nats; }
node_sockets() { :; }
metrics_listen() { printf '0.0.0.0:9101'; }
metrics_target() { printf '%s:9101' "${2:-$1}"; }
config_file() { printf '%s' "$home/etc/$1/$2"; }
process_log() { :; }  # what the container prints
