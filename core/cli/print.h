/* Everything the command says: errors, tables for people, JSON for programs, raw bytes. What comes out of a
   sandbox is hostile: text for people goes through print_text, which lets no byte act on the terminal. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void print_prepare(void); /* once, first of all */

/* One line "hfsandbox: ..." on standard error, by one write: lines of other programs do not mix with it. */
void print_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Likewise, and whoever is at the terminal answers in the same line. */
void print_question(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line on standard error, a terminal, that the next one takes the place of; print_error erases it. NULL
 * erases it. */
void print_status(const char *line);

/* Text with control bytes, bytes that are no UTF-8 and characters that reorder a line shown as \xNN. Returns
 * the columns used. */
size_t print_text(FILE *out, const char *text, size_t len);

/* All bytes to a descriptor. False: errno; EINTR when a signal asked for the end. */
bool print_bytes(int fd, const void *data, size_t len);

/* Flushes standard output and gives the exit code: 0, or that of a failed write, said on standard error. */
int print_end(void);
int print_failed(int error_number); /* the exit code of a write to standard output that failed */

/* A table: cells left to right, row by row, then the end, which prints and frees it. */
struct print_table;
struct print_table *print_table_new(size_t columns, const char *const *heads,
                                    const char *aligned); /* 'l' or 'r' each */
void print_table_cell(struct print_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void print_table_time(struct print_table *table,
                      int64_t ms); /* since 1970, in local time; 0 = an empty cell */
void print_table_end(struct print_table *table);

/* JSON on standard output; zero-initialised. Bytes that are no UTF-8 become U+FFFD. */
struct print_json {
    bool comma;
};
void print_json_begin(struct print_json *json, char bracket);
void print_json_end(struct print_json *json, char bracket);
void print_json_name(struct print_json *json, const char *name);
void print_json_text(struct print_json *json, const char *text, size_t len);
/* A JSON text that json_read takes, as one line of printable ASCII: what else is in it is in its strings, or
 * white space. */
void print_json_whole(const char *text, size_t len);
void print_json_number(struct print_json *json, int64_t number);
void print_json_bool(struct print_json *json, bool value);
void print_json_null(struct print_json *json);
/* Members. NULL text is null. Text that is no UTF-8 adds a member "<name>_base64" with the exact bytes. */
void print_json_member_text(struct print_json *json, const char *name, const char *text);
void print_json_member_number(struct print_json *json, const char *name, int64_t number);
void print_json_member_bool(struct print_json *json, const char *name, bool value);
void print_json_member_code(struct print_json *json, const char *name, bool present,
                            int64_t number); /* null when absent */

void *print_allocate(size_t size); /* ends the command when there is no memory */

#endif
