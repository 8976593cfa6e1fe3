#!/bin/bash
# Removes a home with all its instances. Refuses while it runs.
source "$(dirname "$0")/common.sh"

if [[ ! -e $home ]]; then
  [[ ! -L $asked_home ]] || rm -f "$asked_home"
  echo "nothing to remove: $asked_home is not there"
  exit 0
fi
require_own_home
! is_running || die "$asked_home is running: make stop"
"$repo/scripts/stop.sh"
if [[ -L $home/run/socket_dir ]]; then
  socket_dir=$(readlink "$home/run/socket_dir")
  [[ $socket_dir != /tmp/tl-* || ! -O $socket_dir ]] || rm -rf -- "$socket_dir"
fi
# What a limited node may have left in the cgroup tree, where it is ours to remove.
for node in "$home"/hosts/*/nodes/*/; do
  find /sys/fs/cgroup -depth -type d -path "*trunkline*/$(basename "$node")*" -exec rmdir {} + \
    2>/dev/null || true
done
# The marker goes last, so that an interrupted removal can be repeated.
find "$home" -mindepth 1 -maxdepth 1 ! -name .trunkline-home -exec rm -rf -- {} +
rm -rf -- "$home"
[[ ! -L $asked_home ]] || rm -f "$asked_home"
step clean "$asked_home is gone"
