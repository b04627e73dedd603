#include "values.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define JOB_ID_DIGITS 24

struct unit {
    const char *name;
    double factor;
};

/* A decimal number, possibly with a fraction, and a unit of the table. */
static bool scaled(double *out, const char *text, const struct unit *units, double most) {
    if (!isdigit((unsigned char)*text)) return false;
    size_t digits = strspn(text, "0123456789");
    size_t fraction = text[digits] == '.' ? 1 + strspn(text + digits + 1, "0123456789") : 0;
    if (fraction == 1 || digits + fraction > 30) return false;
    char number[32] = {0};
    memcpy(number, text, digits + fraction);
    for (const struct unit *unit = units; unit->name; unit++) {
        if (strcasecmp(text + digits + fraction, unit->name) != 0) continue;
        double value = 0;
        for (size_t i = 0; i < digits; i++)
            value = value * 10 + (number[i] - '0');
        double place = 1;
        for (size_t i = digits + 1; i < digits + fraction; i++)
            value += (number[i] - '0') * (place /= 10);
        *out = value * unit->factor;
        return *out <= most;
    }
    return false;
}

bool values_size(uint64_t *out, const char *text) {
    static const double K = 1024;
    const struct unit units[] = {
        {"", 1},        {"B", 1},         {"K", K},           {"KiB", K},           {"M", K * K},
        {"MiB", K * K}, {"G", K * K * K}, {"GiB", K * K * K}, {"T", K * K * K * K}, {"TiB", K * K * K * K},
        {NULL, 0}};
    double bytes;
    if (!scaled(&bytes, text, units, 9e15)) return false;
    *out = (uint64_t)bytes;
    return true;
}

bool values_number(uint64_t *out, const char *text) {
    if (!isdigit((unsigned char)*text)) return false;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*end || errno) return false;
    *out = number;
    return true;
}

bool values_true(const char *text) {
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    for (size_t i = 0; text && i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) return true;
    }
    return false;
}

static const struct {
    const char *name;
    int number;
} SIGNALS[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},     {"QUIT", SIGQUIT}, {"ILL", SIGILL},   {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT}, {"BUS", SIGBUS},     {"FPE", SIGFPE},   {"KILL", SIGKILL}, {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},   {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT},   {"STOP", SIGSTOP}, {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU}, {"URG", SIGURG},     {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM},
    {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},     {"SYS", SIGSYS}};

int values_signal(const char *text) {
    uint64_t number;
    if (values_number(&number, text)) return number >= 1 && number <= 64 ? (int)number : 0;
    if (strncasecmp(text, "SIG", 3) == 0) text += 3;
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++) {
        if (strcasecmp(text, SIGNALS[i].name) == 0) return SIGNALS[i].number;
    }
    return 0;
}

const char *values_signal_name(int number) {
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++) {
        if (number == SIGNALS[i].number) return SIGNALS[i].name;
    }
    return NULL;
}

bool values_dollars(uint64_t *micro_usd, const char *text) {
    static const struct unit units[] = {{"", 1e6}, {NULL, 0}};
    double micro;
    text += *text == '$';
    size_t point = strcspn(text, ".");
    if (text[point] && strlen(text + point + 1) > 6) return false;
    if (!scaled(&micro, text, units, 1e15)) return false;
    *micro_usd = (uint64_t)(micro + 0.5);
    return *micro_usd > 0;
}

size_t values_remote(const char *text) {
    size_t len = strcspn(text, ":/");
    if (text[len] == ':') return len;
    if (!text[len] || !len || *text == '.' || *text == '~') return 0;
    size_t id = strspn(text + len + 1, "0123456789abcdef"), name = 0;
    if (id != JOB_ID_DIGITS) return 0;
    len += 1 + id;
    if (text[len] == '.') name = strcspn(text + len, ":/");
    return name != 1 && text[len + name] == ':' ? len + name : 0;
}

size_t values_distance(const char *a, const char *b) {
    size_t la = strlen(a), lb = strlen(b);
    size_t row[64];
    if (la >= 64 || lb >= 64) return 64;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j], best = corner + (a[i - 1] != b[j - 1]);
            if (above + 1 < best) best = above + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
            corner = above;
        }
    }
    return row[lb];
}
