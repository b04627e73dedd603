# Sourced by the checks of this folder: a build of its own below the build that runs the tests. ctest reads status 77 as "skipped".
set -eu
: "${SBX_SOURCE:?the source directory}" "${SBX_BUILD:?the build directory}" "${SBX_PYTHON:?a Python with pytest}"

need() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "$1 is not installed"
        exit 77
    }
}

# build NAME "TARGET..." CMAKE_OPTION...: configures in $SBX_BUILD/NAME and builds the targets there, or everything
build() {
    name=$1 targets=$2
    shift 2
    mkdir -p "$SBX_BUILD/$name"
    log=$SBX_BUILD/$name/build.log
    if ! { cmake -S "$SBX_SOURCE" -B "$SBX_BUILD/$name" -G Ninja -DSBX_BUILD_TESTS=ON -DSBX_WERROR=ON -DSBX_PYTHON="$SBX_PYTHON" "$@" &&
        cmake --build "$SBX_BUILD/$name" --parallel 2 ${targets:+--target $targets} -- -k 0; } >"$log" 2>&1; then
        grep -E "error:|warning:|FAILED|undefined reference" "$log" || cat "$log"
        exit 1
    fi
}
