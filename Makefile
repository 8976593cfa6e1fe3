# The commands of Trunkline. Variables: TRUNKLINE_HOME (default .run), TRUNKLINE_PORT_BASE (default
# 8080), DETACH=1 (make run returns when the platform is up).
SHELL := /bin/bash
.DEFAULT_GOAL := help
# One at a time: set-up, then build, then run.
.NOTPARALLEL:
.PHONY: help run test sanitize soak bench stop status clean-state build build-all setup

export TRUNKLINE_HOME TRUNKLINE_PORT_BASE DETACH

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 20

setup: ## install the Debian packages that are missing
	@scripts/setup.sh

build: setup ## the programs, in build/bin
	@scripts/build.sh programs

build-all: setup
	@scripts/build.sh all

run: ## set up, build, start the platform, stay until Ctrl-C
	@scripts/run.sh --check
	@$(MAKE) --no-print-directory build
	@scripts/run.sh

stop: ## stop the platform and wait until it is down
	@scripts/stop.sh

status: ## its processes and health
	@scripts/status.sh

clean-state: ## remove the home with all instances (refused while it runs)
	@scripts/clean_state.sh

test: build-all ## unit and integration tests
	@scripts/setup.sh test
	@scripts/test.sh

sanitize: setup ## the unit tests under ASan and UBSan, then under TSan
	@scripts/sanitize.sh

soak: build-all ## what takes hours: the hostile tenant whole, many seeds, many failovers
	@scripts/soak.sh

bench: build-all ## the figures, beside the limits measured in the same run
	@scripts/setup.sh bench
	@scripts/bench.sh
