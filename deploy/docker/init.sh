#!/bin/bash
# The first container: makes what the others need (secrets, certificates, configuration, the log's
# cluster), or brings it up to date. Safe to repeat, also after one that was killed.
# What it has to say is for `docker compose logs welcome`, too.
source /usr/share/trunkline/scripts/common.sh
source "$repo/scripts/home.sh"
source "$repo/scripts/config.sh"

readonly home_format=1  # of what is in the volumes
readonly least_mb=${TRUNKLINE_LEAST_MB:-900}

refuse_if_no_memory() {
  local mb
  mb=$(awk '$1 == "MemAvailable:" {print int($2 / 1024)}' /proc/meminfo)
  ((mb >= least_mb)) ||
    die "this machine has $mb MB of memory free; three hosts need at least $least_mb MB"
}

refuse_if_of_another_version() {
  local format=$home/format version
  if [[ -s $format ]] && (($(<"$format") > home_format)); then
    die "the volumes were made by a newer Trunkline (format $(<"$format"), this one knows" \
      "$home_format): use its images; nothing was changed"
  fi
  [[ -s $log_data_dir/PG_VERSION ]] || return 0
  version=$(<"$log_data_dir/PG_VERSION")
  [[ -x /usr/lib/postgresql/$version/bin/postgres ]] ||
    die "the log in the volumes is of PostgreSQL $version, which these images do not have;" \
      "nothing was changed"
}

# Nodes' addresses are in the log and in certificates.
refuse_if_of_another_subnet() {
  local file=$home/subnet
  [[ ! -s $file || $(<"$file") == "$subnet" ]] ||
    die "the volumes were made with TRUNKLINE_SUBNET=$(<"$file"), which cannot change;" \
      "nothing was changed"
}

mark_home() {
  printf 'The volumes of a Trunkline; docker compose down -v removes them.\n' \
    >"$home/.trunkline-home"
  [[ -s $home/installation ]] || openssl rand -hex 5 | write_private "$home/installation" root
  home_hash=$(<"$home/installation")
}

# A supervisor's list for one container: what starts again when it dies.
write_own_list() { # PROCESS PLACE OWNER
  process_list | jq -s --arg name "$1" --arg pid_dir "$pid_dir" --arg run "$run_file" \
    '{pid_dir: $pid_dir, run_file: $run, run: {}, processes: map(select(.name == $name))}' |
    write_private "$(config_file "$2" processes.json)" "$3"
}

# For the command line.
write_run_file() {
  jq -n --arg api "$api" --arg token "$admin_dir/admin.token" \
    --arg dsn "$(log_dsn tl_reader trunkline_log)" \
    '{api: $api, admin_token_file: $token, log_dsn: $dsn, nats: "nats://nats:4222",
      cli: "trunkline", processes: []}' | write_private "$admin_dir/run.json" "$service_user"
}

main() {
  refuse_if_no_memory
  refuse_if_of_another_version
  refuse_if_of_another_subnet
  mark_home
  make_home
  owned_dir "$service_user" 0700 "$admin_dir"
  owned_dir "$service_user" 0700 "$(dirname "$log_data_dir")"
  owned_dir "$service_user" 0700 "$home/etc/demo"
  choose_socket_dir
  give_node_uids
  make_secrets
  chown "$service_user:" "$admin_dir"/admin.{token,header}
  make_certificates
  make_log_postgres
  write_service_configs
  write_own_list log-postgres log root
  local host
  for host in "${hosts[@]}"; do write_own_list "agent-$host" "$host" root; done
  write_run_file
  printf '%s\n' "$subnet" | write_private "$home/subnet" root
  printf '%d\n' "$home_format" | write_private "$home/format" root
}

install -d "$admin_dir"
rm -f "$admin_dir/init.failed" "$admin_dir/init.done"
failed() {
  wait "$teller" 2>/dev/null || true
  mv -f "$admin_dir/init.said" "$admin_dir/init.failed"
}
exec 9>&2 2> >(tee "$admin_dir/init.said" >&9)
teller=$!
trap '[[ $? == 0 ]] || { exec 2>&9; failed; }' EXIT
main
: >"$admin_dir/init.done"
step init "configuration is in place"
