# Sourced by run.sh: writes the configuration of every process, anew at each start.

nats_password() { cat "$home/secrets/nats-$1.password"; }

# Who may say and hear what on the bus. One line a subject keeps a review possible.
# --answers: it may also answer what it is asked, once a question.
nats_user() { # NAME PUBLISH... -- SUBSCRIBE... [--answers]
  local name=$1 list=publish answers='' subject
  shift
  printf '      { user: "%s", password: "%s", permissions: {\n        publish: { allow: [\n' \
    "$name" "$(nats_password "$name")"
  for subject in "$@"; do
    if [[ $subject == -- ]]; then
      printf '        ] }\n        subscribe: { allow: [\n'
      list=subscribe
    elif [[ $subject == --answers ]]; then
      answers='        allow_responses: { max: 1, expires: "10s" }\n'
    else
      printf '          "%s"\n' "$subject"
    fi
  done
  [[ $list == subscribe ]]
  printf '        ] }\n%b      } }\n' "$answers"
}

# The JetStream calls of a service that takes commands from a durable push consumer.
command_consumer_api() { # SERVICE
  local service=$1 call
  for call in STREAM.CREATE STREAM.UPDATE STREAM.INFO; do echo "\$JS.API.$call.TL_CMD"; done
  for call in DURABLE.CREATE INFO; do echo "\$JS.API.CONSUMER.$call.TL_CMD.$service"; done
  echo "\$JS.ACK.TL_CMD.$service.>"
}

nats_config() {
  local host provisioner_api replication_api metering_api call
  mapfile -t provisioner_api < <(command_consumer_api provisioner)
  mapfile -t replication_api < <(command_consumer_api replication)
  mapfile -t metering_api < <(command_consumer_api metering
    for call in STREAM.CREATE STREAM.UPDATE STREAM.INFO STREAM.MSG.GET; do
      echo "\$JS.API.$call.TL_USAGE"
    done
    echo '$JS.API.CONSUMER.DURABLE.CREATE.TL_USAGE.billing')
  cat <<END
# Written by scripts/run.sh at every start; holds passwords.
listen: "$nats_listen"
server_name: "trunkline-$home_hash"
max_payload: 1MB
# Who has not said who he is within a second goes, so silent sockets never fill these.
max_connections: 8192
authorization { timeout: 1 }
max_control_line: 4KB
write_deadline: "5s"
logtime: true
jetstream {
  store_dir: "$home/nats"
  max_memory_store: 64MB
  max_file_store: 8GB
}
# Users are in accounts only, and there is no no_auth_user: who has no password is refused.
system_account: SYS
accounts {
  SYS { users: [] }
  TL {
    jetstream: enabled
    users: [
END
  nats_user gateway 'tl.cmd.>' 'tl.query.>' 'tl.admin.>' 'tl.logs.*' '$JS.API.STREAM.CREATE.TL_CMD' \
    '$JS.API.STREAM.UPDATE.TL_CMD' '$JS.API.STREAM.INFO.TL_CMD' \
    -- 'tl.inbox.gateway.>' 'tl.evt.>'
  nats_user provisioner 'tl.task.>' 'tl.cmd.provisioner.>' 'tl.log.appended' \
    'tl.inbox.gateway.>' "${provisioner_api[@]}" \
    -- 'tl.deliver.provisioner' 'tl.report.>' 'tl.evt.>' 'tl.inbox.provisioner.>'
  nats_user replication 'tl.task.>' 'tl.lease.*' 'tl.primary.*' 'tl.cmd.replication.>' \
    'tl.log.appended' 'tl.inbox.gateway.>' "${replication_api[@]}" \
    -- 'tl.deliver.replication' 'tl.report.>' 'tl.evt.>' 'tl.query.replication' \
    'tl.inbox.replication.>'
  nats_user metering 'tl.usage.>' 'tl.log.appended' 'tl.inbox.gateway.>' "${metering_api[@]}" \
    -- 'tl.deliver.metering' 'tl.evt.>' 'tl.stats.*' 'tl.traffic.*' 'tl.query.metering' \
    'tl.admin.metering' 'tl.inbox.metering.>'
  # For a billing system: reads usage, from any place or through a consumer that is kept for it.
  nats_user billing '$JS.API.STREAM.INFO.TL_USAGE' '$JS.API.STREAM.MSG.GET.TL_USAGE' \
    '$JS.API.CONSUMER.MSG.NEXT.TL_USAGE.billing' '$JS.ACK.TL_USAGE.billing.>' \
    -- 'tl.usage.>' 'tl.inbox.billing.>'
  nats_user lookup 'tl.evt.>' 'tl.route.>' 'tl.inbox.gateway.>' 'tl.inbox.proxy.>' \
    '$JS.API.STREAM.CREATE.TL_EVT' \
    '$JS.API.STREAM.UPDATE.TL_EVT' '$JS.API.STREAM.INFO.TL_EVT' \
    '$JS.API.STREAM.MSG.GET.TL_EVT' \
    -- 'tl.query.lookup' 'tl.admin.lookup' 'tl.report.>' 'tl.stats.*' 'tl.traffic.*' 'tl.evt.>' \
    'tl.log.appended' 'tl.inbox.lookup.>'
  nats_user proxy 'tl.query.lookup' 'tl.traffic.proxy' -- 'tl.route.>' 'tl.primary.*' \
    'tl.inbox.proxy.>'
  for host in "${hosts[@]}"; do
    nats_user "agent-$host" "tl.report.$host" "tl.stats.$host" -- "tl.task.$host" "tl.lease.$host" \
      "tl.logs.$host" "tl.inbox.agent-$host.>" --answers
  done
  printf '    ]\n  }\n}\n'
}

log_dsn() { # ROLE DATABASE
  printf 'host=%s port=%s user=%s dbname=%s' "$socket_dir/log" "$log_port" "$1" "$2"
}

# For Prometheus' file_sd_configs.
write_metrics_targets() {
  local service host
  owned_dir "$service_user" 0755 "$home/prometheus"
  {
    for service in api-gateway provisioner replication lookup metering proxy; do
      jq -n --arg to "$(metrics_target "$service")" --arg service "$service" --arg home "$home_hash" \
        '{targets: [$to], labels: {job: "trunkline", service: $service, home: $home}}'
    done
    for host in "${hosts[@]}"; do
      jq -n --arg to "$(metrics_target agent "$host")" --arg host "$host" --arg home "$home_hash" \
        '{targets: [$to], labels: {job: "trunkline", service: "agent", host: $host, home: $home}}'
    done
  } | jq -s . >"$home/prometheus/targets.json.new"
  chmod 0644 "$home/prometheus/targets.json.new"
  mv "$home/prometheus/targets.json.new" "$home/prometheus/targets.json"
}

# The fields that all processes share.
common_config() { # SERVICE NATS_USER [HOST]
  jq -n --arg service "$1" --arg home "$home" --arg user "$2" \
    --arg url "nats://$(bus_address "$1"):$nats_port" --rawfile password "$home/secrets/nats-$2.password" \
    --arg metrics "$(metrics_listen "$1" "${3-}")" \
    '{service: $service, home: $home, metrics_listen: $metrics,
      nats: {url: $url, user: $user, password: ($password | rtrimstr("\n"))}}'
}

bootstrap_versions() {
  local dir
  for dir in /usr/lib/postgresql/*/bin; do
    [[ -x $dir/postgres ]] && basename "$(dirname "$dir")"
  done | jq -nR '[inputs | {name: ., image: "postgresql-\(.)", description: "PostgreSQL \(.)"}]'
}

token_digest() { tr -d '\n' <"$admin_dir/admin.token" | sha256sum | cut -d' ' -f1; }

# HOST: a user for each node, where root runs this; and who besides reaches the nodes' sockets.
nodes_apart() {
  if as_root; then
    jq -n --argjson first "$(first_uid_of "$1")" --argjson count "$uids_of_a_host" \
      --arg group "$(id -gn "$service_user")" --arg proxy "$proxy_address" \
      '{node_uids: {first: $first, count: $count}, client_group: $group,
        client_addresses: [$proxy]}'
  else
    echo '{}'
  fi
}

write_service_configs() {
  local host
  common_config api-gateway gateway |
    jq --arg listen "$rest_listen" --arg swagger "$swagger_dir" \
      --rawfile webhooks "$home/secrets/webhook-master.secret" \
      --argjson follow "${TRUNKLINE_LOG_FOLLOW_MS:-900000}" \
      '. + {listen: $listen, swagger_ui_dir: $swagger, log_follow_ms: $follow,
            webhook_master_secret: ($webhooks | rtrimstr("\n"))}' |
    write_private "$(config_file api-gateway api-gateway.json)" "$service_user"
  common_config provisioner provisioner |
    jq --arg dsn "$(log_dsn tl_provisioner trunkline_log)" --arg digest "$(token_digest)" \
      --argjson versions "$(bootstrap_versions)" \
      --argjson instances "${TRUNKLINE_QUOTA_INSTANCES:-1000}" \
      --argjson ports "${endpoint_ports:-null}" \
      '. + {log_dsn: $dsn, admin_token_sha256: $digest, bootstrap_versions: $versions,
            default_quota: {instances: $instances}} +
           if $ports then {endpoint_ports: $ports} else {} end' |
    write_private "$(config_file provisioner provisioner.json)" "$service_user"
  common_config replication replication |
    jq --arg dsn "$(log_dsn tl_replication trunkline_log)" '. + {log_dsn: $dsn}' |
    write_private "$(config_file replication replication.json)" "$service_user"
  common_config metering metering |
    jq --arg dsn "$(log_dsn tl_metering trunkline_log)" \
      --arg database "$(log_dsn tl_metering trunkline_metering)" \
      --arg source "/trunkline/$home_hash" --arg schema "$api/v1/schemas/usage.json" \
      --argjson window "${TRUNKLINE_USAGE_WINDOW_MS:-60000}" \
      --argjson grace "${TRUNKLINE_USAGE_GRACE_MS:-5000}" \
      --rawfile webhooks "$home/secrets/webhook-master.secret" \
      --argjson pause "${TRUNKLINE_WEBHOOK_FIRST_PAUSE_MS:-1000}" \
      --argjson timeout "${TRUNKLINE_WEBHOOK_TIMEOUT_MS:-15000}" \
      --arg ca "${TRUNKLINE_WEBHOOK_CA_FILE:-}" \
      --argjson http "${TRUNKLINE_WEBHOOK_ALLOW_HTTP:-false}" \
      --arg allow "${TRUNKLINE_WEBHOOK_ALLOW:-}" \
      '. + {log_dsn: $dsn, metering_dsn: $database, event_source: $source, event_schema: $schema,
            usage: {window_ms: $window, grace_ms: $grace},
            webhook_master_secret: ($webhooks | rtrimstr("\n")), webhook_first_pause_ms: $pause,
            webhook_timeout_ms: $timeout, webhook_ca_file: $ca, webhook_allow_http: $http,
            webhook_allow: ($allow | split(" ") | map(select(. != "")))}' |
    write_private "$(config_file metering metering.json)" "$service_user"
  common_config lookup lookup |
    jq --arg dsn "$(log_dsn tl_lookup trunkline_log)" \
      --arg model "$(log_dsn tl_lookup trunkline_lookup)" --arg endpoint "$endpoint_address" \
      '. + {log_dsn: $dsn, read_model_dsn: $model, endpoint_address: $endpoint}' |
    write_private "$(config_file lookup lookup.json)" "$service_user"
  common_config proxy proxy |
    jq --arg listen "$proxy_listen" --argjson port "$proxy_port" --arg tls "$proxy_tls_dir" \
      --argjson pooled "$pooled_port" --arg pools "$socket_dir/pools" \
      --arg nodes "$(node_sockets)" \
      --argjson pool_idle "${TRUNKLINE_POOL_IDLE_MS:-60000}" \
      --rawfile secret "$home/secrets/proxy-salts.secret" \
      '. + {listen_address: $listen, port: $port, mock_secret: ($secret | rtrimstr("\n")),
            pooled_port: $pooled, pool_dir: $pools, pool_idle_ms: $pool_idle,
            tls_cert: "\($tls)/proxy.crt", tls_key: "\($tls)/proxy.key",
            backend_ca: "\($tls)/ca.crt", backend_cert: "\($tls)/client.crt",
            backend_key: "\($tls)/client.key", node_sockets: $nodes}' |
    write_private "$(config_file proxy proxy.json)" "$service_user"
  for host in "${hosts[@]}"; do
    common_config agent "agent-$host" "$host" |
      jq --arg host "$host" --arg zone "$(host_zone "$host")" \
        --arg address "$(host_address "$host")" --arg sockets "$socket_dir" \
        --arg user "$(as_root && echo "$node_user")" --arg keeper "$programs_dir/trunkline-keeper" \
        --argjson stats "${TRUNKLINE_STATS_INTERVAL_MS:-10000}" \
        --argjson capacity "${TRUNKLINE_HOST_CAPACITY:-"{}"}" \
        --argjson apart "$(nodes_apart "$host")" \
        '. + {cpu: 0, ram_mb: 0, disk_gb: 0} + $capacity +
             {host: $host, zone: $zone, address: $address,
              socket_dir: $sockets, node_user: $user, keeper: $keeper,
              stats_interval_ms: $stats} + $apart' |
      write_private "$(config_file "$host" "agent-$host.json")" "$(id -un)"
  done
  write_metrics_targets
  nats_config | write_private "$(config_file nats nats-server.conf)" "$service_user"
}

# What the log's own PostgreSQL runs with; initdb's postgresql.conf stays below it.
log_postgres_settings() {
  cat <<END
# Written by scripts/run.sh at every start.
listen_addresses = ''
port = $log_port
unix_socket_directories = '$socket_dir/log'
unix_socket_permissions = 0700
max_connections = 60
superuser_reserved_connections = 5
authentication_timeout = 5s
shared_buffers = 64MB
max_wal_size = 512MB
min_wal_size = 64MB
password_encryption = 'scram-sha-256'
fsync = on
synchronous_commit = on
full_page_writes = on
jit = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] %q%u@%d '
log_statement = 'none'
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_timezone = 'UTC'
timezone = 'UTC'
cluster_name = 'trunkline-log'
END
}

log_postgres_hba() {
  cat <<END
# Written by scripts/run.sh at every start. Only the socket, whose directory is the services' own;
# who may be whom: pg_ident.conf.
local all  all  peer map=trunkline
END
}

# The services' user becomes the services' roles and never the superuser: the log is append-only
# for every process that runs.
log_postgres_ident() {
  local role user
  for user in $(printf '%s\n' "$(id -un)" "$service_user" | sort -u); do
    for role in tl_provisioner tl_replication tl_metering tl_lookup tl_reader; do
      printf 'trunkline "%s" %s\n' "$user" "$role"
    done
  done
  printf 'trunkline "%s" postgres\n' "$(id -un)"
}

make_log_postgres() {
  local data=$log_data_dir bin file
  if [[ ! -e $data ]]; then
    bin=$(find_postgres_bin)
    [[ -n $bin ]] || die "no PostgreSQL server under /usr/lib/postgresql"
    rm -rf "$data.new"
    owned_dir "$service_user" 0700 "$data.new"
    (cd / && runs_as "$service_user" "$bin/initdb" -D "$data.new" -U postgres -E UTF8 \
      --locale=C.UTF-8 --data-checksums --auth=peer >"$home/logs/initdb.log" 2>&1) ||
      die "initdb failed: $(tail -3 "$home/logs/initdb.log")"
    echo "include = 'trunkline.conf'" | (cd / && runs_as "$service_user" \
      tee -a "$data.new/postgresql.conf" >/dev/null)
    sync -f "$data.new"
    mv "$data.new" "$data"
  fi
  for file in trunkline.conf:log_postgres_settings pg_hba.conf:log_postgres_hba \
    pg_ident.conf:log_postgres_ident; do
    "${file#*:}" | runs_as "$service_user" tee "$data/${file%%:*}" >/dev/null
  done
}

# One entry of the supervisor's list. EXTRA is JSON that is added.
process() { # NAME USER EXTRA ARGV...
  local name=$1 user=$2 extra=$3
  shift 3
  jq -n --arg name "$name" --arg user "$user" --arg log "$(process_log "$name")" \
    --argjson extra "$extra" \
    '{name: $name, user: $user, log: $log, argv: $ARGS.positional} + $extra' \
    --args -- "$@"
}

# NAME USER: what puts the command that follows where it runs: nothing, or a namespace of a test's
# network (which only root can enter, so the user changes after that).
runner() {
  [[ -n ${TRUNKLINE_NETWORK:-} ]] || return 0
  printf '%s\n' "$(command -v nsenter)" "--net=/run/netns/$1"
  [[ $2 == "$(id -un)" ]] || printf '%s\n' "$(command -v setpriv)" "--reuid=$2" "--regid=$2" \
    --clear-groups
  return 0
}

process_list() {
  local bin service host config in_place proxy_user=$service_user
  bin=/usr/lib/postgresql/$(cat "$log_data_dir/PG_VERSION")/bin
  process nats "$service_user" "$(jq -n --arg tcp "127.0.0.1:$nats_port" \
    '{ready: {tcp: $tcp}, stop_signal: "INT"}')" \
    "$(command -v nats-server || echo /usr/sbin/nats-server)" -c "$(config_file nats nats-server.conf)"
  process log-postgres "$service_user" "$(jq -n --arg unix "$socket_dir/log/.s.PGSQL.$log_port" \
    '{ready: {unix: $unix}, stop_signal: "INT", stop_deadline_ms: 30000,
      prepare: $ARGS.positional}' \
    --args -- "$share_dir/log_database.sh" "$bin/psql" "$socket_dir/log" "$log_port" \
    "$share_dir/log_schema.sql")" \
    "$bin/postgres" -D "$log_data_dir"
  for service in lookup provisioner replication metering api-gateway; do
    process $service "$service_user" '{"level": 1}' \
      "$programs_dir/trunkline-${service#api-}" --config "$(config_file $service $service.json)"
  done
  mapfile -t in_place < <(runner proxy "$service_user")
  ((${#in_place[@]} == 0)) || proxy_user=$(id -un)
  process proxy "$proxy_user" "$(jq -n --arg tcp "$proxy_address:$proxy_port" \
    '{level: 1, ready: {tcp: $tcp}}')" \
    "${in_place[@]}" "$programs_dir/trunkline-proxy" --config "$(config_file proxy proxy.json)"
  for host in "${hosts[@]}"; do
    config=$(config_file "$host" "agent-$host.json")
    mapfile -t in_place < <(runner "$host" "$(id -un)")
    process "agent-$host" "$(id -un)" "$(jq -n \
      '{level: 1, cleanup: $ARGS.positional, cleanup_deadline_ms: 90000}' \
      --args -- "${in_place[@]}" "$programs_dir/trunkline-agent" --config "$config" --stop-nodes)" \
      "${in_place[@]}" "$programs_dir/trunkline-agent" --config "$config"
  done
}

write_process_list() {
  process_list | jq -s --arg pid_dir "$pid_dir" --arg run_file "$run_file" \
    --arg own_log "$supervisor_log" --arg api "$api" --arg token "$shown_admin_dir/admin.token" \
    --arg nats "nats://127.0.0.1:$nats_port" --arg dsn "$(log_dsn tl_reader trunkline_log)" \
    --arg cli "$asked_home/bin/trunkline" \
    '{pid_dir: $pid_dir, run_file: $run_file, own_log: $own_log,
      run: {api: $api, admin_token_file: $token, nats: $nats, log_dsn: $dsn, cli: $cli},
      processes: .}' | write_private "$processes_file" "$(id -un)"
}
