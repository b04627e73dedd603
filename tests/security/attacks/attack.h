/* What the files of attacks share: each has a table of what it tries, ended by a NULL. */
#ifndef ATTACK_H
#define ATTACK_H

#include <stddef.h>

struct attack {
    const char *name;
    int (*run)(char **arg); /* the exit status: what done() returned */
};
extern const struct attack attacks_reach[], attacks_escape[], attacks_kernel[], attacks_exhaust[],
    attacks_neighbour[];

/* Says how it went, with errno as the reason; 0 when it was done, 1 when it was refused. */
int done(int ok, const char *what);

#endif
