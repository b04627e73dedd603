#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <strings.h>
#include <unistd.h>

#include "print.h"
#include "signals.h"

bool ask_possible(void) {
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static bool is_yes(const char *line, size_t len) {
    while (len && (line[len - 1] == '\n' || line[len - 1] == '\r' || line[len - 1] == ' '))
        len--;
    return (len == 1 && !strncasecmp(line, "y", len)) || (len == 3 && !strncasecmp(line, "yes", len));
}

bool ask_answer(void) {
    char line[256];
    ssize_t got = -1;
    struct pollfd ready[] = {{STDIN_FILENO, POLLIN, 0}, {signals_fd(), POLLIN, 0}};
    while (poll(ready, 2, -1) < 0 && errno == EINTR && !signals_received())
        continue;
    if (!signals_received()) got = read(STDIN_FILENO, line, sizeof line);
    if (got <= 0 || line[got - 1] != '\n') print_bytes(STDERR_FILENO, "\n", 1);
    return got > 0 && is_yes(line, (size_t)got);
}
