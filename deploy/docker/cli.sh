#!/bin/bash
# docker compose run --rm cli ...: the command `trunkline`; or
#   psql ARGUMENTS    as a client inside the network (-p PORT of an endpoint)
#   show FILE         admin.token, admin.header (for curl -H @FILE) or demo.password
set -euo pipefail
admin_dir=/var/lib/trunkline/admin
case ${1-} in
  psql)
    shift
    [[ " $* " != *" -U demo "* || ! -s $admin_dir/demo.password ]] ||
      PGPASSWORD=$(<"$admin_dir/demo.password")
    export PGPASSWORD=${PGPASSWORD-}
    PGHOST=proxy exec psql "$@"
    ;;
  show)
    case ${2-} in
      admin.token | admin.header | demo.password) exec cat "$admin_dir/$2" ;;
      *) echo "show admin.token, admin.header or demo.password" >&2; exit 2 ;;
    esac
    ;;
  *) exec /usr/lib/trunkline/trunkline --run-json "$admin_dir/run.json" "$@" ;;
esac
