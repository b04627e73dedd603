#!/bin/sh
# ctest: timeout=600
# Everything compiles without a warning under clang, and the fuzz targets find nothing for a while: 10 seconds each, 10 minutes in the long
# tier. What they find is kept in the build directory, and belongs into tests/fuzz/corpus/ once it is understood.
. "$SBX_SOURCE/tests/toolchain/lib.sh"
need clang
build clang "" -DCMAKE_C_COMPILER=clang -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link -DSBX_FUZZ=ON -DSBX_SANITIZE=address -DSBX_BUILD_AGENT=OFF
seconds=10
[ -z "${SBX_LONG:-}" ] || seconds=600
status=0
for target in "$SBX_BUILD"/clang/bin/fuzz/*_fuzz; do
    name=$(basename "$target" _fuzz)
    work=$SBX_BUILD/clang/fuzz/$name
    mkdir -p "$work/corpus" "$work/found"
    # A slow unit or a leak is a finding too. The artifact's name holds what it is.
    if ASAN_OPTIONS=quarantine_size_mb=32 "$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$work/found/" \
        "$work/corpus" "$SBX_SOURCE/tests/fuzz/corpus/$name" >"$work/log" 2>&1; then
        echo "$name: $(grep number_of_executed_units "$work/log" | tr -dc 0-9) runs in $seconds s"
    else
        tail -n 60 "$work/log"
        status=1
    fi
done
exit $status
