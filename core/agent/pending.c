/* Stands in for parts that are not in the tree yet. */
#include "agent/loop.h"
#include "agent/process.h"
#include "agent/route.h"

__attribute__((weak)) const struct route handle_process_routes[] = {{NULL, NULL, BODY_NONE, 0, NULL}};
__attribute__((weak)) const struct route handle_files_routes[] = {{NULL, NULL, BODY_NONE, 0, NULL}};
__attribute__((weak)) const struct route handle_proxy_routes[] = {{NULL, NULL, BODY_NONE, 0, NULL}};

__attribute__((weak)) size_t process_running(void) {
    return 0;
}
__attribute__((weak)) size_t process_finished(void) {
    return 0;
}
__attribute__((weak)) int64_t process_last_end(void) {
    return 0;
}
__attribute__((weak)) void process_end_all(int64_t grace_ms, void (*done)(void)) {
    (void)grace_ms;
    done();
}
