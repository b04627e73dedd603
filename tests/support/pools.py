"""Pools of the public C API through ctypes; beside sbx.py, whose rules hold here too.

    import sbx, pools
    with sbx.Client(provider="jobs") as client, pools.create(client, name="p", max_hosts=2) as pool:
        box = pool.sandbox(env=["A=1"]); box.run("echo $A"); box.kill()
        pool.info(), pool.sandboxes(), pool.warm(2), pool.delete()
    pools.connect(client, "p"), pools.list_all(client)
"""
import json
from ctypes import byref, c_uint64

import sbx
from sbx_header import PoolOptions, PoolRow, SandboxRow

ADOPT_ALL, ADOPT_RUNNING, ADOPT_NONE = 0, 1, 2


def _values(row, struct):
    return {name: v.decode() if isinstance(v := getattr(row, name), bytes) else v for name, _ in struct._fields_}


def create(client, timeout_ms=0, cancel=None, **options):
    return Pool(sbx.make("pool_create", client.handle, byref(PoolOptions(**options)), sbx.call(timeout_ms, cancel)))


def connect(client, name, timeout_ms=0, **options):
    return Pool(sbx.make("pool_connect", client.handle, name.encode(), byref(PoolOptions(**options)), sbx.call(timeout_ms)))


def list_all(client, hub_namespace=None):
    found = sbx.make("pool_list_all", client.handle, hub_namespace and hub_namespace.encode(), None)
    try:
        rows = [sbx.lib.sbx_pool_list_get(found, i).contents for i in range(sbx.lib.sbx_pool_list_count(found))]
        return [_values(row, PoolRow) for row in rows]
    finally:
        sbx.lib.sbx_pool_list_free(found)


class Pool(sbx.Handle):
    free = "pool_free"

    @property
    def name(self):
        return sbx.lib.sbx_pool_name(self.handle).decode()

    def sandbox(self, timeout_ms=0, cancel=None, **options):
        return sbx.Sandbox(sbx.make("pool_sandbox", self.handle, byref(sbx.SandboxOptions(**options)), sbx.call(timeout_ms, cancel)))

    def sandbox_later(self, queue, user=None, timeout_ms=0, **options):
        """Starts it; the completion comes on the queue."""
        assert sbx.check("pool_sandbox", None, self.handle, byref(sbx.SandboxOptions(**options)),
                         sbx.call(timeout_ms, None, queue, user)) == sbx.PENDING

    def warm(self, hosts, timeout_ms=0):
        number = c_uint64()
        sbx.check("pool_warm", byref(number), self.handle, hosts, sbx.call(timeout_ms))
        return number.value

    def info(self):
        return json.loads(sbx._take_bytes(sbx.make("pool_info", self.handle, None)))

    def sandboxes(self):
        found = sbx.make("pool_sandboxes", self.handle, None)
        try:
            rows = [sbx.lib.sbx_sandbox_list_get(found, i).contents for i in range(sbx.lib.sbx_sandbox_list_count(found))]
            return [_values(row, SandboxRow) for row in rows]
        finally:
            sbx.lib.sbx_sandbox_list_free(found)

    def delete(self, timeout_ms=0):
        number = c_uint64()
        sbx.check("pool_delete", byref(number), self.handle, sbx.call(timeout_ms))
        return number.value
