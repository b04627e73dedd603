/* Runs a fuzz target over every file of the directories and files named on the command line: how corpora
   become ordinary tests, under any compiler. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t ran;

static int rerun(const char *path) {
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fstat(fileno(f), &st) != 0) {
        perror(path);
        return 1;
    }
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size > 0 ? size : 1); /* exactly its size: a read past its end is seen */
    bool complete = data != NULL && fread(data, 1, size, f) == size;
    if (complete)
        LLVMFuzzerTestOneInput(data, size);
    else
        perror(path);
    free(data);
    fclose(f);
    ran++;
    return !complete;
}

static int rerun_directory(const char *path, DIR *directory) {
    struct dirent *entry;
    int failures = 0;
    while ((entry = readdir(directory)) != NULL) {
        char file[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        failures += rerun(file);
    }
    return failures;
}

int main(int argc, char **argv) {
    int failures = 0;
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        failures += directory == NULL ? rerun(argv[i]) : rerun_directory(argv[i], directory);
        if (directory != NULL) closedir(directory);
    }
    printf("%zu inputs\n", ran);
    return failures > 0 || ran == 0;
}
