"""Pools of the public C API through ctypes; beside sbx.py, whose rules hold here too.

    import sbx, pools
    with sbx.Client(provider="jobs") as client, pools.create(client, name="p", max_hosts=2) as pool:
        box = pool.sandbox(env=["A=1"]); box.run("echo $A"); box.kill()
        pool.info(), pool.sandboxes(), pool.warm(2), pool.delete()
    pools.connect(client, "p"), pools.list_all(client)
"""
import ctypes
import json
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int64, c_size_t, c_uint, c_uint64, c_void_p

import sbx

ADOPT_ALL, ADOPT_RUNNING, ADOPT_NONE = 0, 1, 2


class PoolOptions(sbx.Sized):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("sandboxes_per_host", c_uint), ("max_hosts", c_uint), ("warm", c_int), ("spread", c_int),
                ("detached", c_int), ("idle_timeout_ms", c_int64), ("start_timeout_ms", c_int64), ("adopt", c_int), ("image", c_char_p),
                ("flavor", c_char_p), ("hub_namespace", c_char_p)]


class PoolRow(Structure):
    _fields_ = [("name", c_char_p), ("provider", c_char_p), ("hub_namespace", c_char_p), ("image", c_char_p), ("flavor", c_char_p),
                ("hosts", c_uint64), ("sandboxes_per_host", c_uint64), ("created_at_ms", c_int64)]


class Completion(sbx.Sized):
    _fields_ = [*sbx.Completion._fields_, ("pool", c_void_p), ("pools", c_void_p)]


class Row(Structure):
    _fields_ = [*(f for f in sbx.SandboxRow._fields_ if f[0] != "pool"), ("pool", c_char_p)]


_OUT, _CALL, _ERR, _TEXT = POINTER(c_void_p), POINTER(sbx.Call), POINTER(sbx.CError), c_char_p
sbx._SIGNATURES.update({
    "pool_create": (c_int, _OUT, c_void_p, POINTER(PoolOptions), _CALL, _ERR),
    "pool_connect": (c_int, _OUT, c_void_p, _TEXT, POINTER(PoolOptions), _CALL, _ERR),
    "pool_name": (_TEXT, c_void_p), "pool_free": (None, c_void_p),
    "pool_sandbox": (c_int, _OUT, c_void_p, POINTER(sbx.SandboxOptions), _CALL, _ERR),
    "pool_warm": (c_int, POINTER(c_uint64), c_void_p, c_uint, _CALL, _ERR),
    "pool_info": (c_int, _OUT, c_void_p, _CALL, _ERR), "pool_sandboxes": (c_int, _OUT, c_void_p, _CALL, _ERR),
    "pool_delete": (c_int, POINTER(c_uint64), c_void_p, _CALL, _ERR),
    "pool_list_all": (c_int, _OUT, c_void_p, _TEXT, _CALL, _ERR), "pool_list_count": (c_size_t, c_void_p),
    "pool_list_get": (POINTER(PoolRow), c_void_p, c_size_t), "pool_list_free": (None, c_void_p),
})


def create(client, timeout_ms=0, cancel=None, **options):
    return Pool(sbx.make("pool_create", client.handle, byref(PoolOptions(**options)), sbx.call(timeout_ms, cancel)))


def connect(client, name, timeout_ms=0, **options):
    return Pool(sbx.make("pool_connect", client.handle, name.encode(), byref(PoolOptions(**options)), sbx.call(timeout_ms)))


def list_all(client, hub_namespace=None):
    found = sbx.make("pool_list_all", client.handle, hub_namespace and hub_namespace.encode(), None)
    try:
        rows = [sbx.lib.sbx_pool_list_get(found, i).contents for i in range(sbx.lib.sbx_pool_list_count(found))]
        return [{name: v.decode() if isinstance(v := getattr(row, name), bytes) else v for name, _ in PoolRow._fields_} for row in rows]
    finally:
        sbx.lib.sbx_pool_list_free(found)


def _take_bytes(handle):
    data = ctypes.string_at(sbx.lib.sbx_bytes_data(handle), sbx.lib.sbx_bytes_size(handle))
    sbx.lib.sbx_bytes_free(handle)
    return data


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
        return json.loads(_take_bytes(sbx.make("pool_info", self.handle, None)))

    def sandboxes(self):
        found = sbx.make("pool_sandboxes", self.handle, None)
        try:
            rows = [ctypes.cast(sbx.lib.sbx_sandbox_list_get(found, i), POINTER(Row)).contents
                    for i in range(sbx.lib.sbx_sandbox_list_count(found))]
            return [{name: v.decode() if isinstance(v := getattr(row, name), bytes) else v for name, _ in Row._fields_} for row in rows]
        finally:
            sbx.lib.sbx_sandbox_list_free(found)

    def delete(self, timeout_ms=0):
        number = c_uint64()
        sbx.check("pool_delete", byref(number), self.handle, sbx.call(timeout_ms))
        return number.value
