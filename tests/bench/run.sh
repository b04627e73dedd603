#!/bin/sh
# Builds the benchmark and what it measures (Release, the static agent) and prints the table.
#   tests/bench/run.sh [BUILD_DIRECTORY] [--agent-only] [--scale N]
#   tests/bench/run.sh [BUILD_DIRECTORY] --host [--sandboxes N] [--rounds N]   many sandboxes in one agent; needs root
#   tests/bench/run.sh [BUILD_DIRECTORY] --jobs [--only PART] [--rounds N]    the jobs provider on the local Hub, beside huggingface_hub
# Exit status 1: a goal was missed. A busy machine measures nothing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build-bench
case "${1:-}" in
'' | --*) ;;
*) build=$1 && shift ;;
esac
hub=OFF
[ "${1:-}" != --jobs ] || hub=ON
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSBX_BUILD_TESTS=OFF -DSBX_BUILD_BENCH=ON -DSBX_BUILD_HUB=$hub >/dev/null
cmake --build "$build" --parallel 2 >"$build/bench.log" 2>&1 || { cat "$build/bench.log" >&2; exit 2; }
sudo=
[ "$(id -u)" = 0 ] || sudo='sudo -E'
if [ "${1:-}" = --host ]; then
    shift
    exec $sudo env SBX_BUILD="$build" PYTHONPATH="$root/tests/support" PYTHONDONTWRITEBYTECODE=1 python3 "$root/tests/bench/host/host.py" "$@"
fi
[ $hub = ON ] || exec "$build/bin/bench" "$@"
shift
python=$build/venv/bin/python
[ -x "$python" ] || python3 -m venv "$build/venv"
"$python" -c 'import aiohttp, trustme, huggingface_hub' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check aiohttp trustme huggingface_hub </dev/null
exec $sudo env PYTHONPATH="$root/tests/hub" PYTHONDONTWRITEBYTECODE=1 "$python" "$root/tests/bench/jobs/jobs.py" "$build" "$@"
