#!/bin/bash
# What takes too long for every run: the hostile tenant whole, simulations with many seeds, more
# failovers and kills, longer outages, images whose programs are compiled in Docker.
# usage: soak.sh [PART...]    parts: hostile seeds failovers docker
source "$(dirname "$0")/common.sh"
unset TRUNKLINE_HOME TRUNKLINE_PORT_BASE DETACH
cd "$repo"
export TRUNKLINE_BIN_DIR=$repo/build/bin
parts=("$@")
((${#parts[@]})) || parts=(hostile seeds failovers docker)
failed=()

part() { # NAME COMMAND...
  local name=$1
  shift
  step soak "$name"
  "$@" || failed+=("$name")
}

for name in "${parts[@]}"; do
  case $name in
    hostile) part hostile python3 -B tests/hostile/hostile.py --whole ;;
    seeds)
      export TRUNKLINE_SIM_SEEDS=${TRUNKLINE_SIM_SEEDS:-100000} \
        TRUNKLINE_SEEDS=${TRUNKLINE_SEEDS:-100000} \
        TRUNKLINE_METERING_SEEDS=${TRUNKLINE_METERING_SEEDS:-200}
      for program in build/tests/*simulation_test; do
        part "$(basename "$program")" "$program" --gtest_brief=1
      done
      ;;
    failovers)
      export TRUNKLINE_FAILOVERS=50 TRUNKLINE_CHAOS_KILLS=200 TRUNKLINE_CHAOS_LIVES=50 \
        TRUNKLINE_OUTAGE_SECONDS=60 TRUNKLINE_PARTITION_SECONDS=10 TRUNKLINE_BUSY_SECONDS=120
      for module in test_failover test_nothing_lost test_outages test_partitions \
        test_no_false_alarms; do
        part "$module" env -C tests/integration python3 -B -m unittest -v "$module"
      done
      ;;
    docker)
      TRUNKLINE_COMPOSE_BUILD=1 part docker env -C tests/integration python3 -B -m unittest -v \
        test_compose
      ;;
    *) die "no part is called '$name': hostile seeds failovers docker" ;;
  esac
done
((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
