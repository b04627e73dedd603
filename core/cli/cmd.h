/* The commands. Each gets its parsed options and an open session, and gives the exit code. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "options.h"
#include "session.h"

typedef int cmd_function(struct session *s, const struct options *o);

cmd_function cmd_run, cmd_create;
cmd_function cmd_process_exec, cmd_process_spawn, cmd_process_list, cmd_process_logs, cmd_process_wait;
cmd_function cmd_kill;
cmd_function cmd_files_list, cmd_copy;
cmd_function cmd_sandboxes_list, cmd_sandboxes_info, cmd_sandboxes_reap;
cmd_function cmd_pool_create, cmd_pool_list, cmd_pool_info, cmd_pool_delete;
cmd_function cmd_connect, cmd_hardware, cmd_doctor;

#endif
