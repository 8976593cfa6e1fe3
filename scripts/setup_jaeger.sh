#!/usr/bin/env bash
# Builds Jaeger all-in-one (collector, query API, memory store) with the Go toolchain, for
# tests/integration/test_jaeger.py and for a look at one's own traces. Optional: nothing else needs
# it. Prints the program's path; JAEGER_DIR (default: ~/.cache/trunkline-jaeger) says where it goes.
set -euo pipefail

version=v1.62.0
dir=${JAEGER_DIR:-$HOME/.cache/trunkline-jaeger}
program=$dir/jaeger-all-in-one-$version

if [ -x "$program" ]; then
  echo "$program"
  exit 0
fi
command -v go > /dev/null || { echo "no Go toolchain: Jaeger is not built" >&2; exit 1; }
mkdir -p "$dir"
work=$(mktemp -d "$dir/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
# `go install module@version` refuses a module with replace directives; as a dependency it builds.
go mod init trunkline.local/jaeger > /dev/null 2>&1
go get "github.com/jaegertracing/jaeger/cmd/all-in-one@$version" >&2
go build -trimpath -ldflags '-s -w' -o "$work/all-in-one" \
  github.com/jaegertracing/jaeger/cmd/all-in-one >&2
mv "$work/all-in-one" "$program"
echo "$program"
