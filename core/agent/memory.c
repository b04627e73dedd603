#include "agent/memory.h"

#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>

#include "util/text.h"
#include "util/whole.h"

static bool read_proc(pid_t pid, const char *file, char *text, size_t room) {
    char path[48];
    text_format(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    return whole_read(AT_FDCWD, path, text, room);
}

uint64_t memory_column(const char *line, int index) {
    for (line += strspn(line, " "); index > 0; index--) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return text_number(line);
}

uint64_t memory_resident(pid_t pid) {
    char text[128];
    return read_proc(pid, "statm", text, sizeof text) ? memory_column(text, 1) * getauxval(AT_PAGESZ) : 0;
}

static uint64_t field(const char *text, const char *name) {
    const char *at = text_after(text, name);
    return at != NULL ? text_number(at) * 1024 : 0;
}

bool memory_exact(pid_t pid, struct memory *out) {
    char text[2048];
    if (read_proc(pid, "smaps_rollup", text, sizeof text)) {
        out->own = field(text, "\nPss_Anon:") + field(text, "\nSwapPss:");
        out->shared = field(text, "\nPss_Shmem:");
        return true;
    }
    out->own = memory_resident(pid);
    out->shared = 0;
    return false;
}
