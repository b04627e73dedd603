#!/bin/sh
# ctest: timeout=600
# The client's unit tests and the parsers under valgrind, without a sanitizer: uninitialised values are what only it sees.
. "$SBX_SOURCE/tests/toolchain/lib.sh"
need valgrind
build plain tests/all -DCMAKE_BUILD_TYPE=Debug -DSBX_SANITIZE= -DSBX_BUILD_AGENT=OFF -DSBX_BUILD_CLI=OFF
cp "$SBX_BUILD/bin/hfsandbox-agent" "$SBX_BUILD/plain/bin/"
status=0
# Only what valgrind itself finds counts: system calls that it does not know yet (pidfd_open, in Debian 12) fail under it.
memcheck() {
    code=0
    valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect --trace-children=no "$@" \
        >"$SBX_BUILD/plain/valgrind.log" 2>&1 || code=$?
    if [ "$code" = 99 ] || [ "$code" -ge 128 ]; then
        echo "$*: $code"
        cat "$SBX_BUILD/plain/valgrind.log"
        status=1
    fi
}
for test in "$SBX_BUILD"/plain/bin/*_test; do
    memcheck "$test"
done
for target in "$SBX_BUILD"/plain/bin/*_fuzz; do
    memcheck "$target" "$SBX_SOURCE/tests/fuzz/corpus/$(basename "$target" _fuzz)"
done
exit $status
