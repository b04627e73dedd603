#!/bin/sh
# Installs what the tests need, builds with sanitizers and runs every test of the short tier; ctest's summary comes last.
#   tests/run.sh [--long] [ctest arguments]
# --long adds the soaks and long fuzzing. On Debian and Ubuntu, as root or with sudo, missing packages are installed by apt-get; elsewhere
# the script says what is missing. Everything it makes stands in build-asan/.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build-asan
jobs=$(nproc 2>/dev/null || echo 2)
long=0
if [ "${1:-}" = --long ]; then
    long=1
    shift
fi

say() {
    printf '\n== %s (%s s)\n' "$1" $(($(date +%s) - started))
}
started=$(date +%s)

# -- packages

needed='build-essential cmake ninja-build pkg-config git python3 python3-venv musl-tools linux-libc-dev libcurl4-openssl-dev libcjson-dev
libjsmn-dev libssl-dev node-llhttp clang clang-format valgrind libc6-dbg bubblewrap busybox-static dash util-linux procps zopfli
iproute2 binutils ca-certificates curl openssl perl wget'
known_by_some='libclang-rt-dev llvm chromium nodejs default-jdk-headless' # where the compiler's packages do not carry their runtimes; large programs that tests run

missing() {
    for package in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

install_packages() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "This is no Debian or Ubuntu. Needed here under the names that your system gives them: $needed" | tr '\n' ' '
        echo
        return 0
    fi
    wanted=$(missing $needed)
    [ -n "$wanted$(missing $known_by_some)" ] || return 0
    sudo=
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            [ -n "$wanted" ] || return 0
            echo "Missing, and to be installed by root: apt-get install $wanted" >&2
            exit 1
        fi
        sudo='sudo -n'
    fi
    apt() {
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null
    }
    apt update >/dev/null || echo "apt-get update failed; going on with the lists that are there" >&2
    if [ -n "$wanted" ]; then
        apt install --no-install-recommends -y $wanted >/dev/null || {
            echo "apt-get could not install: $wanted" >&2
            exit 1
        }
    fi
    for package in $(missing $known_by_some); do
        if apt-cache show "$package" >/dev/null 2>&1; then
            apt install --no-install-recommends -y "$package" >/dev/null || echo "without $package" >&2
        fi
    done
}

say 'packages'
install_packages

# -- Python: pytest, the newest huggingface_hub, and what the local Hub is made with, in the build directory

say 'python'
python=$build/venv/bin/python
mkdir -p "$build"
[ -x "$python" ] || python3 -m venv "$build/venv"
modules='aiohttp huggingface_hub pytest trustme'
if ! "$python" -m pip install --quiet --disable-pip-version-check --upgrade $modules </dev/null; then
    if ! "$python" -c 'import aiohttp, huggingface_hub, pytest, trustme' 2>/dev/null; then
        echo "pip could not install $modules into $build/venv: is there a network?" >&2
        exit 1
    fi
    echo "pip could not look for newer packages; going on with those that are there" >&2
fi
"$python" -c 'import huggingface_hub, pytest; print("huggingface_hub", huggingface_hub.__version__, "pytest", pytest.__version__)'

# -- build and run

say 'build'
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSBX_SANITIZE=address -DSBX_BUILD_TESTS=ON -DSBX_WERROR=ON \
    -DSBX_TEST_TOOLCHAINS=ON -DSBX_PYTHON="$python" >"$build/configure.log" 2>&1 || {
    cat "$build/configure.log" >&2
    exit 1
}
cmake --build "$build" --parallel "$jobs" >"$build/build.log" 2>&1 || {
    cat "$build/build.log" >&2
    exit 1
}

say 'tests'
cd "$build"
if [ "$long" = 1 ]; then
    SBX_LONG=1 exec ctest --output-on-failure -j 2 "$@" </dev/null
fi
exec ctest --output-on-failure -j 2 -LE long "$@" </dev/null
