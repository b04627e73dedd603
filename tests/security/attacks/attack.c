/* What a hostile command would try: attack NAME [ARGUMENT...]. Exits 0 when it got what it wanted, 1 when it
   was refused (with the reason on stdout), 2 when it was called wrongly. Linked statically, so that it runs
   in any root. */
#include "attack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int done(int ok, const char *what) {
    if (ok) {
        printf("done: %s\n", what);
    } else {
        printf("refused: %s: %s\n", what, strerror(errno));
    }
    return !ok;
}

int main(int argc, char **argv) {
    const struct attack *const tables[] = {attacks_reach, attacks_escape, attacks_kernel, attacks_exhaust,
                                           attacks_neighbour};
    for (size_t i = 0; argc > 1 && i < sizeof tables / sizeof *tables; i++)
        for (const struct attack *a = tables[i]; a->name != NULL; a++) {
            if (strcmp(argv[1], a->name) != 0) continue;
            int status = a->run(argv + 2);
            fflush(stdout);
            return status;
        }
    return 2;
}
