#!/bin/bash
# Installs the Debian 12 packages that are missing, and nothing else; with none missing it needs no
# root. Servers that it installs are kept from starting on their own: ours run from the home.
# usage: setup.sh [bench]    docs/dependencies.md says what each package is for.
source "$(dirname "$0")/common.sh"

build_packages=(g++ cmake make ninja-build ccache mold pkg-config libnats-dev libpqxx-dev libpq-dev
  libprotobuf-dev protobuf-compiler libpistache-dev libspdlog-dev libgtest-dev libgmock-dev
  nlohmann-json3-dev libcli11-dev prometheus-cpp-dev libcurl4-openssl-dev libssl-dev libabsl-dev
  libgrpc++-dev protobuf-compiler-grpc opentelemetry-cpp-dev libicu-dev python3-jsonschema)
run_packages=(nats-server postgresql-15 postgresql-client-15 pgbouncer curl jq openssl
  ca-certificates procps util-linux python3)
bench_packages=(wrk haproxy patroni python3-etcd etcd-server pg-auto-failover-cli
  postgresql-15-auto-failover)

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

apt() {
  privileged env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -q -y \
    -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" >>"$log" 2>&1 ||
    { tail -15 "$log" >&2; die "apt-get $1 failed; all of it: $log"; }
}

can_install() { apt-cache show "$1" >/dev/null 2>&1; }

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

# Keeps package scripts from starting servers, unless the machine has a say in that already.
forbid_service_starts() {
  [[ ! -e /usr/sbin/policy-rc.d ]] || return 0
  printf '#!/bin/sh\nexit 101\n' | privileged tee /usr/sbin/policy-rc.d >/dev/null
  privileged chmod 0755 /usr/sbin/policy-rc.d
  trap 'privileged rm -f /usr/sbin/policy-rc.d' EXIT
}

install_missing() {
  local package new_servers=() common_is_new=no backport=opentelemetry-cpp-dev
  for package in nats-server pgbouncer; do
    is_installed "$package" || new_servers+=("$package.service")
  done
  is_installed postgresql-common || common_is_new=yes
  can_install g++ || apt update
  if [[ " ${missing[*]} " == *" $backport "* ]] && ! can_install "$backport"; then
    apt update
    can_install "$backport" || add_backports
  fi
  forbid_service_starts
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

mkdir -p "$repo/build"
log=$repo/build/setup.log
[[ -r /etc/debian_version ]] ||
  die "made for Debian 12; docs/dependencies.md lists what to install by hand"
packages=("${build_packages[@]}" "${run_packages[@]}")
[[ ${1:-} != bench ]] || packages+=("${bench_packages[@]}")
mapfile -t missing < <(missing_of "${packages[@]}")
if ((${#missing[@]})); then
  as_root || command -v sudo >/dev/null ||
    die "missing packages and no sudo here; as root: apt-get install ${missing[*]}"
  step packages "installing ${#missing[@]}: ${missing[*]}"
  install_missing
  mapfile -t missing < <(missing_of "${packages[@]}")
  ((${#missing[@]} == 0)) || die "still missing: ${missing[*]}"
fi
fetch_swagger_ui
step packages "nothing missing"
