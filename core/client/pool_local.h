/* Pools of this computer: each sandbox is an ordinary local one whose record names the pool. A file in the
   runtime directory holds the pool's size, and its lock makes one creation wait for the other. Lock held. */
#ifndef CLIENT_POOL_LOCAL_H
#define CLIENT_POOL_LOCAL_H

#include "client/pool.h"

void pool_local_open(struct op *op, struct sbx_pool *pool); /* of sbx_pool_create and sbx_pool_connect */
void pool_local_place(struct op *op, struct sbx_pool *pool, const sbx_sandbox_options *options);
void pool_local_info(struct op *op, struct sbx_pool *pool);
void pool_local_sandboxes(struct op *op, struct sbx_pool *pool);
void pool_local_delete(struct op *op, struct sbx_pool *pool);
void pool_local_list(struct op *op); /* op->out.pools */
void pool_local_close(struct sbx_pool *pool);

#endif
