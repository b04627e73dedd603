/* Between a command in a sandbox and this process: input as it comes, output as it comes, the end. */
#ifndef CLI_PUMP_H
#define CLI_PUMP_H

#include "session.h"

/* Whether standard input is worth passing on: it is open and is not /dev/null. */
bool pump_has_input(void);

/* Starts a command attached, passes everything through until it ends, and gives the exit code. The
   first signal is passed on to it. When it cannot go on (a second signal, or none of the first one's effect
   in ten seconds; a closed output, an unreadable input, a lost sandbox) the command is killed with all that
   it started. */
int pump_run(struct session *s, sbx_sandbox *sandbox, sbx_command *command);

/* Copies a process's output from these offsets on, until it ends; it is left running whatever happens. Gives
 * the exit code of the copying. */
int pump_follow(struct session *s, sbx_process *process, uint64_t from_stdout, uint64_t from_stderr);

/* The exit code that stands for a command's end, with a word on standard error where the code alone does not
 * say it. */
int pump_exit_code(const sbx_event *exit);

/* The exit code for a command that could not be started, said. */
int pump_start_failed(struct session *s, sbx_sandbox *sandbox, const sbx_command *command,
                      const sbx_error *err);

#endif
