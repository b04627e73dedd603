#include "client/agent_path.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/error.h"
#include "util/buf.h"

#define NAME "hfsandbox-agent"

static bool usable(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return false;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : EACCES;
        return false;
    }
    return access(path, X_OK) == 0;
}

static sbx_status take(char **out, const char *path, const char *from, sbx_error *err) {
    if (!usable(path))
        return error_set(err, SBX_ERROR_AGENT, "%s names '%s' as the agent: %s", from, path, strerror(errno));
    *out = strdup(path);
    return *out != NULL ? SBX_OK : error_memory(err);
}

/* The directory of the file that this code is in: the library, or the program when it is linked statically.
 */
static bool own_directory(struct buf *b) {
    Dl_info info;
    if (dladdr(__extension__(void *) agent_path_find, &info) == 0 || info.dli_fname == NULL) return false;
    char *real = realpath(info.dli_fname, NULL);
    if (real == NULL) return false;
    char *slash = strrchr(real, '/');
    bool ok = slash != NULL && buf_append(b, real, (size_t)(slash - real));
    free(real);
    return ok;
}

/* Who names the agent; NULL: nobody, it is looked for. */
static const char *origin_of(const char *option) {
    const char *variable = getenv("HFSANDBOX_AGENT");
    if (option != NULL) return "the option agent_path";
    return variable != NULL && *variable != '\0' ? "HFSANDBOX_AGENT" : NULL;
}

sbx_status agent_path_find(char **out, const char *option, sbx_error *err) {
    *out = NULL;
    const char *origin = origin_of(option);
    if (origin != NULL) return take(out, option != NULL ? option : getenv("HFSANDBOX_AGENT"), origin, err);

    static const char *const beside[] = {"/" NAME, "/../bin/" NAME, "/../libexec/hfsandbox/" NAME};
    struct buf directory = BUF_INIT(4096), path = BUF_INIT(8192), tried = BUF_INIT(480);
    bool found = false;
    if (own_directory(&directory)) {
        for (size_t i = 0; i < sizeof beside / sizeof *beside && !found; i++) {
            buf_clear(&path);
            found = buf_puts(&path, directory.data) && buf_puts(&path, beside[i]) && usable(path.data);
            if (!found) buf_printf(&tried, "%s, ", path.data);
        }
    }
    if (!found) {
        buf_clear(&path);
        found = buf_puts(&path, SBX_LIBEXEC_AGENT) && usable(path.data);
        if (!found) buf_printf(&tried, "%s", SBX_LIBEXEC_AGENT);
    }
    sbx_status status = SBX_OK;
    if (found) {
        *out = buf_take(&path);
        if (*out == NULL) status = error_memory(err);
    } else {
        status = error_set(err, SBX_ERROR_AGENT,
                           "hfsandbox-agent was not found; set HFSANDBOX_AGENT to it. Looked at: %s",
                           tried.len > 0 ? tried.data : SBX_LIBEXEC_AGENT);
    }
    buf_free(&directory);
    buf_free(&path);
    buf_free(&tried);
    return status;
}

void agent_path_say(char *out, size_t size, const char *option) {
    char *path = NULL;
    const char *origin = origin_of(option);
    agent_path_find(&path, option, NULL);
    snprintf(out, size, "the agent %s%s%s%s", path != NULL ? path : "", origin != NULL ? " (named by " : "",
             origin != NULL ? origin : "", origin != NULL ? ")" : "");
    free(path);
}
