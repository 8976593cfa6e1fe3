#!/bin/bash
# Installs the Debian 12 packages that are missing, and nothing else; with none missing it needs no
# root. Servers that it installs are kept from starting on their own: ours run from the home.
# Safe to interrupt and to repeat, also in the middle of an installation.
# usage: setup.sh [test|bench]    docs/dependencies.md says what each package is for.
source "$(dirname "$0")/common.sh"
# What packages and this script put into the system is for everybody to read.
umask 022

build_packages=(g++ cmake make ninja-build ccache mold pkg-config libnats-dev libpqxx-dev libpq-dev
  libprotobuf-dev protobuf-compiler libpistache-dev libspdlog-dev libgtest-dev libgmock-dev
  nlohmann-json3-dev libcli11-dev prometheus-cpp-dev libcurl4-openssl-dev libssl-dev libabsl-dev
  libgrpc++-dev protobuf-compiler-grpc opentelemetry-cpp-dev libicu-dev python3-jsonschema)
run_packages=(nats-server postgresql-15 postgresql-client-15 pgbouncer curl jq openssl
  ca-certificates procps util-linux iproute2 python3)
bench_packages=(wrk haproxy patroni python3-etcd etcd-server pg-auto-failover-cli
  postgresql-15-auto-failover)

# Real drivers, for tests/integration/test_drivers.py.
test_packages=(python3-psycopg python3-asyncpg python3-sqlalchemy python3-greenlet
  libpostgresql-jdbc-java libhikaricp-java libslf4j-java golang-github-jackc-pgx-v4-dev)
# Of which any will do: COMMAND PACKAGE.
test_tools=(go golang-go javac default-jdk-headless node nodejs npm npm
  dockerd docker.io docker-compose docker-compose debootstrap debootstrap)

missing_of() {
  { dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true; } |
    awk '$2 == "installed" {print $1}' | sort -u | comm -13 - <(printf '%s\n' "$@" | sort -u)
}
is_installed() { [[ -z $(missing_of "$1") ]]; }

privileged() {
  if as_root; then
    "$@"
  else
    sudo "$@"
  fi
}

require_privileges() {
  as_root || { command -v sudo >/dev/null && sudo true; } ||
    die "packages are missing, and user $(id -un) cannot install them with sudo;" \
      "as root: make -C $(printf %q "$repo") setup"
}

# COMMAND...: with its output in the log. Waits while another program (on a new machine often its
# first upgrade) holds the locks of apt and dpkg.
patiently() {
  local try begin
  for ((try = 0; try < 120; try++)); do
    begin=$(($(wc -l <"$log") + 1))
    privileged env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 "$@" >>"$log" 2>&1 &&
      return 0
    tail -n "+$begin" "$log" | grep -qE 'Could not get lock|locked by another process' ||
      return 1
    ((try)) || step packages "waiting: another program is at work on the packages of this machine"
    sleep 5
  done
  return 1
}

try_apt() { patiently apt-get -q -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@"; }
apt() { try_apt "$@" || { tail -15 "$log" >&2; die "apt-get $* failed; all of it: $log"; }; }

can_install() { apt-cache show "$1" >/dev/null 2>&1; }

# An installation that was cut off must be finished before apt does anything else.
finish_interrupted() {
  [[ -n $(ls -A /var/lib/dpkg/updates) || -n $(dpkg --audit 2>&1) ]] || return 0
  step packages "finishing an installation that was interrupted"
  patiently dpkg --configure -a || true
  apt --fix-broken --no-remove install
}

# Backports of the mirror that bookworm comes from.
add_backports() {
  local uri key=/usr/share/keyrings/debian-archive-keyring.gpg options='' \
    file=/etc/apt/sources.list.d/trunkline-backports.list
  uri=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' \
    'Created-By: Packages' |
    awk '$1 == "bookworm" && $2 == "main" && !found {print $3; found = 1}')
  [[ -n $uri ]] ||
    die "no bookworm main in apt's sources: add it, or install opentelemetry-cpp-dev yourself"
  [[ ! -e $key ]] || options="[signed-by=$key] "
  step packages "adding bookworm-backports for opentelemetry-cpp-dev ($file)"
  echo "deb $options$uri bookworm-backports main" | privileged tee "$file" >/dev/null
  apt update
}

# Keeps package scripts from starting servers, unless the machine has a say in that already. One
# that a killed set-up left is known by its mark.
forbid_service_starts() {
  local mark='# for the time of Trunkline'"'"'s set-up'
  [[ ! -e /usr/sbin/policy-rc.d ]] || grep -qF "$mark" /usr/sbin/policy-rc.d || return 0
  printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | privileged tee /usr/sbin/policy-rc.d >/dev/null
  privileged chmod 0755 /usr/sbin/policy-rc.d
  trap 'privileged rm -f /usr/sbin/policy-rc.d' EXIT
}

install_missing() {
  local package new_servers=() common_is_new=no backport=opentelemetry-cpp-dev
  for package in nats-server pgbouncer; do
    is_installed "$package" || new_servers+=("$package.service")
  done
  [[ " ${missing[*]} " != *" docker.io "* ]] ||
    new_servers+=(docker.service docker.socket containerd.service)
  is_installed postgresql-common || common_is_new=yes
  forbid_service_starts
  finish_interrupted
  # Lists that are missing or old name files that the mirror does not have. A source that does not
  # answer need not be one of ours: then the installation says what is wrong.
  try_apt update || warn "apt-get update failed; going on ($log)"
  if [[ " ${missing[*]} " == *" $backport "* ]] && ! can_install "$backport"; then
    add_backports
  fi
  if [[ $common_is_new == yes && " ${missing[*]} " == *" postgresql-15 "* ]]; then
    # Else postgresql-15 makes a cluster on port 5432.
    apt install --no-install-recommends postgresql-common
    privileged sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' \
      /etc/postgresql-common/createcluster.conf
  fi
  apt install --no-install-recommends "${missing[@]}"
  # They would start with the machine's next start.
  if ((${#new_servers[@]})) && command -v systemctl >/dev/null; then
    privileged systemctl disable --now "${new_servers[@]}" >>"$log" 2>&1 || true
  fi
}

# Swagger UI's files from Debian's r-cran-swagger, unpacked without installing it. The platform
# runs without them; /docs then says what is missing.
fetch_swagger_ui() {
  local target=$repo/build/swagger-ui work from
  [[ ! -e $target/swagger-ui-bundle.js ]] || return 0
  work=$(mktemp -d /tmp/trunkline-swagger.XXXXXX)
  chmod 0755 "$work"
  if (cd "$work" && apt-get -q -o APT::Sandbox::User=root download r-cran-swagger &&
    dpkg-deb -x r-cran-swagger_*.deb .) >>"$log" 2>&1; then
    from=$work/usr/lib/R/site-library/swagger/dist3
    install -d "$target.new"
    install -m 0644 "$from"/swagger-ui{.css,-bundle.js} "$from"/favicon-{16x16,32x32}.png \
      "$work/usr/share/doc/r-cran-swagger/copyright" "$target.new/"
    mv "$target.new" "$target"
  else
    warn "no Swagger UI: package r-cran-swagger could not be fetched ($log)"
  fi
  rm -rf "$work"
}

# What root makes in somebody else's clone is theirs.
hand_over() {
  ! as_root || chown -R --reference="$repo" "$log" "$repo"/build/swagger-ui* 2>/dev/null || true
  ! as_root || chown --reference="$repo" "$repo/build"
}

mkdir -p "$repo/build"
log=$repo/build/setup.log
[[ -r /etc/debian_version ]] ||
  die "made for Debian 12; docs/dependencies.md lists what to install by hand"
packages=("${build_packages[@]}" "${run_packages[@]}")
[[ ${1:-} != bench ]] || packages+=("${bench_packages[@]}")
if [[ ${1:-} == test ]]; then
  packages+=("${test_packages[@]}")
  for ((i = 0; i < ${#test_tools[@]}; i += 2)); do
    command -v "${test_tools[i]}" >/dev/null || packages+=("${test_tools[i + 1]}")
  done
fi
mapfile -t missing < <(missing_of "${packages[@]}")
if ((${#missing[@]})); then
  step packages "installing ${#missing[@]}: ${missing[*]}"
  require_privileges
  : >>"$log"
  install_missing
  mapfile -t missing < <(missing_of "${packages[@]}")
  ((${#missing[@]} == 0)) || die "still missing: ${missing[*]}"
fi
fetch_swagger_ui
hand_over
step packages "nothing missing"
