#include "agent/host.h"

#include "agent/file_beneath.h"
#include "agent/peer.h"
#include "agent/proxy_host.h"
#include "agent/route_host.h"
#include "agent/tenant.h"

const struct host host_mode = {
    .route = route_host_find,
    .count = tenants_count,
    .last_end = tenants_last_end,
    .begin = tenant_idle_start,
    .open = peer_open,
    .end_all = tenants_end_all,
    .path_init = file_beneath_init,
    .resolve = file_beneath_resolve,
    .path_target = file_beneath_target,
    .connect = proxy_host_connect,
    .become = tenant_become,
    .come_back = tenant_come_back,
};
