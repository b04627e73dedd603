#include "agent/host.h"

#include "agent/file_beneath.h"
#include "agent/peer.h"
#include "agent/proxy_host.h"
#include "agent/route_host.h"
#include "agent/tenant.h"
#include "agent/tenant_disk.h"
#include "agent/tenant_jobs.h"
#include "agent/tenant_watch.h"

static void begin(void) {
    tenant_idle_start();
    tenant_disk_start();
}

const struct host host_mode = {
    .route = route_host_find,
    .count = tenants_count,
    .last_end = tenants_last_end,
    .begin = begin,
    .open = peer_open,
    .end_all = tenants_end_all,
    .path_init = file_beneath_init,
    .resolve = file_beneath_resolve,
    .path_target = file_beneath_target,
    .connect = proxy_host_connect,
    .become = tenant_become,
    .come_back = tenant_come_back,
    .running = tenant_watch_command,
    .submit = tenant_jobs_submit,
    .completed = tenant_jobs_completed,
    .owns = tenant_owns,
};
