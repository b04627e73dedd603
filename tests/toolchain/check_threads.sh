#!/bin/sh
# ctest: timeout=600
# The client library under ThreadSanitizer: its unit and black-box tests, with the agent of the build that runs this.
. "$SBX_SOURCE/tests/toolchain/lib.sh"
units=$(cd "$SBX_SOURCE/tests/unit" && basename -s .c client_*_test.c | tr '\n' ' ')
build threads "hfsandbox $units" -DSBX_SANITIZE=thread -DSBX_BUILD_AGENT=OFF
cp "$SBX_BUILD/bin/hfsandbox-agent" "$SBX_BUILD/bin/hfsandbox-agent-test" "$SBX_BUILD/threads/bin/" # no threads to look at in them
cd "$SBX_BUILD/threads"
TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 atexit_sleep_ms=0 die_after_fork=0" exec ctest --output-on-failure --no-tests=error -j 2 -LE long -R '^unit\.client|^client\.'
