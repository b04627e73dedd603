#!/bin/sh
# Builds the benchmark and what it measures (Release, the static agent) and prints the table.
#   tests/bench/run.sh [BUILD_DIRECTORY] [--agent-only] [--scale N]
# Exit status 1: a goal was missed. A busy machine measures nothing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build-bench
case "${1:-}" in
'' | --*) ;;
*) build=$1 && shift ;;
esac
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSBX_BUILD_TESTS=OFF -DSBX_BUILD_BENCH=ON >/dev/null
cmake --build "$build" --parallel 2 >"$build/bench.log" 2>&1 || { cat "$build/bench.log" >&2; exit 2; }
exec "$build/bin/bench" "$@"
