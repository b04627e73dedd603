#include "agent/file_entry.h"
#include "agent/file_list.h"
#include "agent/file_read.h"
#include "agent/file_tree.h"
#include "agent/file_write.h"
#include "agent/route.h"

const struct route handle_files_routes[] = {
    {"GET", "files/read", BODY_NONE, 0, file_read_start},
    {"PUT", "files/write", BODY_STREAMED, 0, file_write_start},
    {"GET", "files/list", BODY_NONE, 0, file_list_start},
    {"GET", "files/stat", BODY_NONE, 0, file_entry_start},
    {"DELETE", "files/delete", BODY_NONE, 0, file_tree_delete},
    {"POST", "files/mkdir", BODY_NONE, 0, file_tree_mkdir},
    {"POST", "files/rename", BODY_NONE, 0, file_tree_rename},
    {NULL, NULL, BODY_NONE, 0, NULL},
};
