#!/bin/sh
# From a fresh Debian or Ubuntu to code running in a sandbox: installs what is missing, builds into build/, shows the main job.
#   packaging/quickstart.sh
# It may be run again at any time, from any directory. As an ordinary user it uses sudo, and only when a package is missing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build
hfsandbox=$build/bin/hfsandbox

say() {
    printf '\n== %s\n' "$1"
}
fail() {
    printf 'quickstart: %s\n' "$1" >&2
    exit 1
}
show() { # a command as it would be typed, then what it does
    printf '$'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "${word#"$build/bin/"}" ;;
        esac
    done
    printf '\n'
    "$@"
}

# -- what the build needs

packages='gcc libc6-dev make cmake pkg-config musl-tools linux-libc-dev node-llhttp libjsmn-dev libcurl4-openssl-dev libcjson-dev'

install_missing() {
    command -v dpkg-query >/dev/null 2>&1 || {
        echo "This is no Debian or Ubuntu; the build needs, by whatever names your system has: $packages"
        return 0
    }
    missing=
    for package in $packages; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || {
        echo 'Everything is installed already.'
        return 0
    }
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || fail "these packages are missing, and there is no sudo; as root: apt-get install$missing"
        sudo -n true 2>/dev/null || [ -t 0 ] || fail "these packages are missing, and sudo asks for a password; as root: apt-get install$missing"
        sudo=sudo
    fi
    echo "Installing:$missing"
    log=$(mktemp)
    apt() {
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1
    }
    apt update || echo 'apt-get update failed; going on with the package lists that are there.'
    # shellcheck disable=SC2086
    apt install -y --no-install-recommends $missing || {
        cat "$log" >&2
        rm -f "$log"
        fail "apt-get could not install:$missing"
    }
    rm -f "$log"
}

say 'Packages'
install_missing

say "Build (Release, into $build)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
    cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSBX_SANITIZE= &&
        cmake --build "$build" --parallel "$(nproc 2>/dev/null || echo 2)"
} >"$log" 2>&1 </dev/null || {
    cat "$log" >&2
    fail 'the build failed; its output is above'
}
ls -lh "$build/bin/hfsandbox" "$build/bin/hfsandbox-agent" "$build"/lib/libhfsandbox.so.*.*.* | awk '{print $5, $NF}'

# -- the main job

work=$(mktemp -d)
id=
finish() {
    [ -z "$id" ] || "$hfsandbox" kill "$id" 2>/dev/null || true
    rm -rf "$work" "$log"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say 'A sandbox of its own for one command: nothing of this computer but its programs is in it'
show "$hfsandbox" run -c 'echo "I am $(id -un) on $(hostname), with $(ls -d /proc/[0-9]* | wc -l) processes and these files:"; ls -A /'

say 'A sandbox that stays'
show "$hfsandbox" list
id=$("$hfsandbox" create)
printf '$ ID=$(hfsandbox create)\n'
show "$hfsandbox" list

if [ -x /usr/bin/python3 ]; then
    cat >"$work/job" <<'PYTHON'
import collections, pathlib, time
words = collections.Counter(pathlib.Path("input.txt").read_text().lower().split())
for step in range(1, 4):
    print(f"step {step} of 3", flush=True)
    time.sleep(0.4)
pathlib.Path("result.txt").write_text("".join(f"{n:4} {w}\n" for w, n in words.most_common(3)))
PYTHON
    interpreter=python3
else
    cat >"$work/job" <<'SHELL'
for step in 1 2 3; do
    echo "step $step of 3"
    sleep 0.4
done
tr 'A-Z ' 'a-z\n' <input.txt | sort | uniq -c | sort -k1,1nr -k2 | head -n 3 >result.txt
SHELL
    interpreter=sh
fi
echo 'the quick brown fox jumps over the lazy dog and the dog sleeps on while the fox runs' >"$work/input.txt"

say 'A file goes in'
show "$hfsandbox" cp "$work/input.txt" "$id:input.txt"
show "$hfsandbox" cp "$work/job" "$id:job"

say 'Code runs, and its output comes while it runs'
printf '$ hfsandbox exec %s -- %s job\n' "$id" "$interpreter"
: >"$work/code"
{ "$hfsandbox" exec "$id" -- "$interpreter" job </dev/null || echo "$?" >"$work/code"; } | while IFS= read -r line; do
    printf '%s  %s\n' "$(date +%T.%N | cut -c 1-10)" "$line"
done
[ ! -s "$work/code" ] || fail "the job failed with exit code $(cat "$work/code")"

say 'A file comes back'
show "$hfsandbox" cp "$id:result.txt" "$work/result.txt"
show cat "$work/result.txt"
[ -s "$work/result.txt" ] || fail 'the result is empty'

say 'The sandbox ends, and with it all that was in it'
show "$hfsandbox" kill "$id"
ended=$id
id=
show "$hfsandbox" list
if "$hfsandbox" list | grep -q "$ended"; then
    fail "$ended is still listed"
fi

say 'Done. Next: build/bin/hfsandbox --help, and README.md'
