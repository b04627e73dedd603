/* blocks N: writes N bytes in blocks of 64 KiB. Static, so that it runs in a sandbox that shows it nothing
 * else of this build. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char block[64 * 1024];
    size_t left = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    while (left > 0) {
        ssize_t n = write(STDOUT_FILENO, block, left < sizeof block ? left : sizeof block);
        if (n <= 0) return 1;
        left -= (size_t)n;
    }
    return 0;
}
