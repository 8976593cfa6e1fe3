# Sourced by run.sh and welcome.sh: what must be there for an order, and the instance `demo`, made
# once in the life of a home.
# Passwords and tokens go to curl by files and pipes, never as arguments.

demo_file=$(config_file demo demo.json)  # {"uuid": …} of the instance, from before it was ordered

# METHOD PATH [JSON on standard input]: the body goes to standard output; fails if not 2xx.
call_api() {
  local method=$1 path=$2 body status
  body=$(curl -sS -m 10 -X "$method" -w '\n%{http_code}' -H 'Content-Type: application/json' \
    -H @"$admin_dir/admin.header" \
    "${@:3}" "$api$path") || return 1
  status=${body##*$'\n'}
  printf '%s' "${body%$'\n'*}"
  [[ $status == 2* ]]
}

# A new platform makes its first versions, then its administrator's token, after it has come up.
api_ready() {
  curl -fsS -o /dev/null -m 2 "$api/readyz" 2>/dev/null &&
    call_api GET /v1/postgres/versions >/dev/null 2>&1
}

# Before that an order could find too few hosts, or put two of its nodes on one.
hosts_ready() {
  [[ $(call_api GET /v1/hosts 2>/dev/null | jq '[.[] | select(.available)] | length') -ge \
    ${#hosts[@]} ]]
}

# PATH UUID JSON: creates what is not there yet.
create_once() {
  local path=$1 uuid=$2 answer
  call_api GET "$path/$uuid" >/dev/null 2>&1 && return 0
  answer=$(jq --arg uuid "$uuid" '. + {uuid: $uuid}' | call_api POST "$path" --data-binary @-) ||
    [[ $answer == *in_use* ]] || die "demo: POST $path: $answer"
}

order_demo() {
  local uuid user database version instances=/v1/postgres/instances
  read -r uuid user database < <(jq -r '"\(.uuid) \(.user) \(.database)"' "$demo_file")
  version=$(call_api GET '/v1/postgres/versions?name=15' | jq -r '.versions[0].uuid // empty')
  [[ -n $version ]] ||
    version=$(call_api GET /v1/postgres/versions | jq -r '.versions[0].uuid // empty')
  [[ -n $version ]] || die "demo: no PostgreSQL version is on offer"
  jq -n --arg version "/v1/types/postgres/versions/$version" \
    '{name: "demo", description: "made by make run", cpu: 1, ram: 512, disk_size: 8,
      nodes_number: 3, sync_replica_number: 1, version: $version}' |
    create_once "$instances" "$uuid"
  jq -n --rawfile password "$admin_dir/demo.password" \
    '{name: "demo", password: ($password | rtrimstr("\n"))}' |
    create_once "$instances/$uuid/users" "$user"
  jq -n --arg owner "/v1/types/postgres/instances/$uuid/users/$user" \
    '{name: "demo", owner: $owner}' |
    create_once "$instances/$uuid/databases" "$database"
}

demo_document() { call_api GET "/v1/postgres/instances/$(jq -r .uuid "$demo_file")"; }
demo_status() { demo_document | jq -r .status; }

demo_objects_active() {
  local uuid kind
  uuid=$(jq -r .uuid "$demo_file")
  for kind in users databases; do
    [[ $(call_api GET "/v1/postgres/instances/$uuid/$kind" |
      jq -r '[.[].status] | unique | join(",")') == ACTIVE ]] || return 1
  done
}

demo_settled() {
  case $(demo_status) in
    ACTIVE) demo_objects_active ;;
    ERROR) return 0 ;;
    *) return 1 ;;
  esac
}

new_uuid() { cat /proc/sys/kernel/random/uuid; }

ensure_demo() {
  [[ ! -e ${demo_file%.json}.done ]] || return 0
  make_once "$admin_dir/demo.password" random_password
  make_once "$demo_file" jq -n --arg uuid "$(new_uuid)" --arg user "$(new_uuid)" \
    --arg database "$(new_uuid)" '{uuid: $uuid, user: $user, database: $database}'
  step demo "ordering PostgreSQL with 3 nodes"
  order_demo
  wait_until "an ACTIVE demo instance" 120 demo_settled
  if [[ $(demo_status) == ERROR ]]; then
    # The platform runs; what is wrong with this instance is for its API to say.
    warn "demo is in ERROR: $(demo_document | jq -c .error)"
    return 0
  fi
  : >"${demo_file%.json}.done"
  step demo ACTIVE
}

# HOST PORT of the demo's primary; nothing if there is no demo (any more).
demo_endpoint() {
  [[ -s $demo_file ]] || return 0
  demo_document 2>/dev/null |
    jq -r '.endpoints.read_write // empty | "\(.host) \(.port)"' 2>/dev/null || true
}

# After a restart its nodes come back by themselves; a moment later than the API, perhaps.
wait_for_demo() {
  local host port i
  read -r host port < <(demo_endpoint) || return 0
  for ((i = 0; i < 300; i++)); do
    ! (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null || return 0
    sleep 0.1
  done
  warn "demo does not accept connections yet"
}

# A line that works when it is pasted.
demo_psql_line() {
  local host port
  read -r host port < <(demo_endpoint) || return 0
  printf "  psql    PGPASSWORD=\$(cat '%s') psql -h %s -p %s -U demo demo\n" \
    "$shown_admin_dir/demo.password" "$host" "$port"
}
