#!/bin/sh
# Starts a local Hugging Face Hub and prints the variables with which a client uses it, until it is interrupted.
#   tests/hub/run.sh [--tls] [--port N] [dial=value ...] [-- COMMAND ...]     --dials lists the dials
# What it needs is installed into a Python environment in build-hub/, its native parts and the agent are built there. Jobs need root.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build-hub
python=$build/venv/bin/python

for tool in cmake cc python3 unshare; do
    command -v "$tool" >/dev/null 2>&1 || {
        echo "$tool is missing: tests/run.sh names and installs the packages" >&2
        exit 1
    }
done
mkdir -p "$build"
[ -x "$python" ] || python3 -m venv "$build/venv"
"$python" -c 'import aiohttp, trustme' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check aiohttp trustme </dev/null
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSBX_BUILD_HUB=ON -DSBX_BUILD_CLI=OFF >"$build/configure.log" 2>&1 || {
    cat "$build/configure.log" >&2
    exit 1
}
cmake --build "$build" --target hub-proxy hub-job agent_static >"$build/build.log" 2>&1 || {
    cat "$build/build.log" >&2
    exit 1
}
sudo=
[ "$(id -u)" = 0 ] || sudo='sudo -E'
exec $sudo env PYTHONPATH="$root/tests/hub" PYTHONDONTWRITEBYTECODE=1 "$python" -m localhub --build "$build" "$@"
