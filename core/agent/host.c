#include "agent/host.h"

#include "agent/file_beneath.h"
#include "agent/route.h"
#include "agent/tenant.h"

const struct host host_mode = {
    .routes = handle_sandboxes_routes,
    .absent = handle_absent_routes,
    .find = tenant_find,
    .count = tenants_count,
    .last_end = tenants_last_end,
    .begin = tenant_idle_start,
    .end_all = tenants_end_all,
    .path_init = file_beneath_init,
    .resolve = file_beneath_resolve,
    .path_target = file_beneath_target,
    .become = tenant_become,
    .come_back = tenant_come_back,
};
