# Sourced by run.sh: the users, directories, secrets and certificates of a home. All of it is safe
# to repeat; what is made half by a crash is made again.

make_users() {
  as_root || return 0
  local user
  for user in "$service_user" "$node_user"; do
    id -u "$user" >/dev/null 2>&1 ||
      useradd --system --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin "$user"
  done
}

runs_as() { # USER COMMAND...: directly if that is who we are
  local user=$1
  shift
  if [[ $(id -un) == "$user" ]]; then
    "$@"
  else
    setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"
  fi
}

# The nearest ancestor of a path that is there.
existing_parent() {
  local path=$1
  while [[ ! -e $path ]]; do path=$(dirname "$path"); done
  printf '%s' "$path"
}

# Root may keep a clone where its service users cannot go (/root): then the home is a link.
move_home_if_unreachable() {
  as_root && [[ ! -L $asked_home ]] || return 0
  local user parent reachable=yes
  parent=$(existing_parent "$(dirname "$home")")
  for user in "$service_user" "$node_user"; do
    runs_as "$user" test -x "$parent" || reachable=no
  done
  [[ $reachable == no ]] || return 0
  [[ ! -e $asked_home ]] || die "$asked_home cannot be reached by user $service_user: move it away"
  home=/var/lib/trunkline/$home_hash
  install -d -m 0711 /var/lib/trunkline "$home"
  (umask 022 && mkdir -p "$(dirname "$asked_home")")
  ln -s "$home" "$asked_home"
  load_home
  step home "$asked_home -> $home (users $service_user, $node_user cannot pass $parent)"
}

owned_dir() { install -d -o "$1" -g "$(id -gn "$1")" -m "$2" "$3"; }

make_home() {
  if [[ -e $home && ! -e $home/.trunkline-home ]] && [[ -n $(ls -A "$home") ]]; then
    die "$asked_home is not empty and not a Trunkline home: choose another TRUNKLINE_HOME"
  fi
  local me host traverse=0711
  me=$(id -un)
  as_root || traverse=0700
  (umask 022 && mkdir -p "$(dirname "$home")")  # one that is there stays as it is
  install -d -m "$traverse" "$home"
  printf 'This directory is Trunkline state; make clean-state removes it.\n' \
    >"$home/.trunkline-home"
  require_own_home
  owned_dir "$me" 0755 "$home/bin"
  owned_dir "$me" "$traverse" "$home/etc"
  owned_dir "$me" "$traverse" "$home/hosts"
  owned_dir "$me" 0700 "$home/secrets"
  owned_dir "$me" 0700 "$home/tls"
  owned_dir "$me" 0755 "$home/run"
  owned_dir "$me" 0700 "$home/logs"
  owned_dir "$service_user" 0700 "$home/nats"
  owned_dir "$service_user" 0700 "$home/proxy"
  # Root writes into it, so its user must not be able to put links there.
  install -d -o "$me" -g "$(id -gn "$service_user")" -m 0710 "$proxy_tls_dir"
  for host in "${hosts[@]}"; do
    owned_dir "$me" "$traverse" "$home/hosts/$host"
    owned_dir "$me" 0700 "$home/hosts/$host/tls"  # the agent's alone
  done
}

# Unix sockets have short paths only: "<socket_dir>/<host>/<node uuid>/.s.PGSQL.<port>" stays below
# 100 bytes; and connection strings want plain characters.
choose_socket_dir() {
  local longest=/host-a/00000000-0000-0000-0000-000000000000/.s.PGSQL.65535 traverse=0711
  as_root || traverse=0700
  socket_dir=$socket_parent
  if ((${#socket_dir} + ${#longest} >= 100)) || [[ $socket_dir =~ [^A-Za-z0-9/._-] ]]; then
    socket_dir=/tmp/tl-$home_hash
    # /tmp is everybody's: what somebody else put there must not be used.
    mkdir -m "$traverse" "$socket_dir" 2>/dev/null || true
    [[ -d $socket_dir && ! -L $socket_dir && -O $socket_dir ]] ||
      die "$socket_dir is somebody else's; choose another TRUNKLINE_HOME"
  fi
  local host
  install -d -m "$traverse" "$socket_dir"
  owned_dir "$service_user" 0700 "$socket_dir/log"
  owned_dir "$service_user" 0700 "$socket_dir/pools"
  for host in "${hosts[@]}"; do owned_dir "$(id -un)" "$traverse" "$socket_dir/$host"; done
  ln -sfn "$socket_dir" "$home/run/socket_dir"
}

# FILE OWNER: the file gets what comes on standard input, whole or not at all, mode 0600.
write_private() {
  local file=$1 owner=$2
  rm -f "$file.new"  # of an earlier start, perhaps with another mode
  (umask 077 && cat >"$file.new")
  chown "$owner:$(id -gn "$owner")" "$file.new"
  mv -f "$file.new" "$file"
}

# FILE COMMAND...: fills the file with the command's output the first time.
make_once() {
  local file=$1
  shift
  [[ -s $file ]] || "$@" | write_private "$file" "$(id -un)"
}

random_password() { openssl rand -hex 32; }
random_token() { printf 'tl_%s\n' "$(openssl rand 256 | basenc --base64url -w0 | tr -d =)"; }

make_secrets() {
  local user
  for user in gateway provisioner replication metering billing lookup proxy "${hosts[@]/#/agent-}"; do
    make_once "$home/secrets/nats-$user.password" random_password
  done
  rm -f "$home/secrets/log-reader.password"  # of homes whose log listened on a port
  make_once "$home/secrets/proxy-salts.secret" random_password
  make_once "$home/secrets/webhook-master.secret" random_password
  make_once "$admin_dir/admin.token" random_token
  # For curl's -H @FILE: a token among the arguments is everybody's to read.
  printf 'Authorization: Bearer %s\n' "$(<"$admin_dir/admin.token")" |
    write_private "$admin_dir/admin.header" "$(id -un)"
}

make_ca() {
  local dir=$home/tls
  if [[ ! -s $dir/ca.crt ]] ||
    ! openssl x509 -checkend 2592000 -noout -in "$dir/ca.crt" >/dev/null; then
    (
      umask 077
      openssl ecparam -name prime256v1 -genkey -noout -out "$dir/ca.key"
      openssl req -x509 -new -key "$dir/ca.key" -sha256 -days 3650 \
        -subj "/CN=trunkline ca $home_hash" -addext basicConstraints=critical,CA:TRUE \
        -addext keyUsage=critical,keyCertSign,cRLSign \
        -out "$dir/ca.crt.new"
      mv "$dir/ca.crt.new" "$dir/ca.crt"
    )
  fi
}

# DIR FILE OWNER SUBJECT EXTENSIONS: FILE.key and FILE.crt with these extensions (lines of a
# configuration of openssl's), and the CA's certificate beside them; made again when they are to end
# or to say something else.
make_certificate() {
  local dir=$1 file=$1/$2 owner=$3 subject=$4 work
  if [[ -s $file.key && -s $file.crt ]] && cmp -s "$home/tls/ca.crt" "$dir/ca.crt" &&
    openssl x509 -checkend 2592000 -noout -in "$file.crt" >/dev/null &&
    [[ $(cat "$file.made_for" 2>/dev/null) == "$subject"$'\n'"$5" ]]; then
    return 0
  fi
  work=$(mktemp -d "$home/tls/new.XXXXXX")
  openssl ecparam -name prime256v1 -genkey -noout -out "$work/key"
  printf '%s\n' "$5" >"$work/extensions"
  openssl req -new -key "$work/key" -subj "$subject" -out "$work/csr"
  openssl x509 -req -in "$work/csr" -CA "$home/tls/ca.crt" -CAkey "$home/tls/ca.key" \
    -set_serial "0x$(openssl rand -hex 16)" -sha256 -days 1825 -extfile "$work/extensions" \
    -out "$work/crt" 2>/dev/null
  write_private "$dir/ca.crt" "$owner" <"$home/tls/ca.crt"
  write_private "$file.crt" "$owner" <"$work/crt"
  write_private "$file.key" "$owner" <"$work/key"
  printf '%s\n%s\n' "$subject" "$5" | write_private "$file.made_for" "$owner"
  rm -rf "$work"
}

# With its own certificate a host's agent makes those of its nodes, and none that is another host's.
issuer_extensions() { # HOST ADDRESS
  printf '%s\n' basicConstraints=critical,CA:TRUE,pathlen:0 keyUsage=critical,keyCertSign \
    "nameConstraints=critical,permitted;DNS:$1,permitted;IP:$2/255.255.255.255,permitted;dirName:host" \
    '[host]' "OU=$1"
}

# KIND NAMES: of one that is no issuer, for one end of a connection.
end_extensions() {
  printf '%s\n' ${2:+"subjectAltName=$2"} "extendedKeyUsage=$1" \
    basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature
}

make_certificates() {
  local host dir names=IP:$proxy_address
  [[ $endpoint_address == "$proxy_address" ]] || names+=,IP:$endpoint_address
  make_ca
  for host in "${hosts[@]}"; do
    dir=$home/hosts/$host/tls
    make_certificate "$dir" issuer "$(id -un)" "/OU=$host/CN=issuer of $host" \
      "$(issuer_extensions "$host" "$(host_address "$host")")"
    rm -f "$dir"/host.{key,crt}  # of the release before: all nodes could read them
  done
  make_certificate "$proxy_tls_dir" proxy "$service_user" /CN=trunkline-proxy \
    "$(end_extensions serverAuth "$names,DNS:*.endpoint.trunkline")"
  # No name of a host's or a node's: it opens no replication, also where any host's would.
  make_certificate "$proxy_tls_dir" client "$service_user" "/CN=Trunkline proxy" \
    "$(end_extensions clientAuth)"
}

# The users that a host's nodes run as are numbers that no other host and no other home of this
# machine has: 65,536 a host, above those of containers. One line a host: SLOT HOME HOST.
first_node_uid=2000000000 uids_of_a_host=65536 most_uid_slots=1000

give_node_uids() {
  as_root || return 0
  install -d -m 0711 "$(dirname "$uid_slots")"
  (
    exec 8>"$uid_slots.lock"
    flock 8
    touch "$uid_slots"
    chmod 0600 "$uid_slots"
    local slot there where host kept=() taken=' '
    while read -r slot where host; do
      # What a home had that is gone can be had again.
      [[ $where == "$home_uid_name" || -e $(printf '%b' "$where")/.trunkline-home ]] || continue
      kept+=("$slot $where $host")
      taken+="$slot "
    done <"$uid_slots"
    for host in "${hosts[@]}"; do
      there=no
      for slot in ${kept[@]+"${kept[@]}"}; do
        [[ ${slot#* } != "$home_uid_name $host" ]] || there=yes
      done
      [[ $there == no ]] || continue
      slot=0
      while [[ $taken == *" $slot "* ]]; do slot=$((slot + 1)); done
      ((slot < most_uid_slots)) || die "$uid_slots has no place for another host"
      kept+=("$slot $home_uid_name $host")
      taken+="$slot "
    done
    printf '%s\n' "${kept[@]}" | write_private "$uid_slots" root
  )
}

first_uid_of() { # HOST
  local slot where host
  while read -r slot where host; do
    [[ $where != "$home_uid_name" || $host != "$1" ]] ||
      printf '%d' $((first_node_uid + slot * uids_of_a_host))
  done <"$uid_slots"
}

# Programs are copied, so that a rebuild does not disturb what runs; each is replaced as a whole.
install_programs() {
  local file
  for file in "$1"/trunkline*; do
    [[ -x $file ]] || continue
    cmp -s "$file" "$home/bin/$(basename "$file")" && continue
    install -m 0755 "$file" "$home/bin/.new"
    mv -f "$home/bin/.new" "$home/bin/$(basename "$file")"
  done
  install -m 0755 "$repo/scripts/log_database.sh" "$home/bin/log_database.sh"
  install -m 0644 "$repo/services/common/eventlog/schema.sql" "$home/bin/log_schema.sql"
  if [[ -d $repo/build/swagger-ui ]]; then
    install -d -m 0755 "$home/swagger-ui"
    install -m 0644 "$repo"/build/swagger-ui/* "$home/swagger-ui/"
  fi
}
