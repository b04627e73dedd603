"""The public C API as ctypes sees it: the constants, structs and functions of hfsandbox.h. For sbx.py, which makes objects of them."""
import ctypes
import os
from ctypes import POINTER, Structure, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint, c_uint16, c_uint64, c_void_p

OK, DONE, PENDING = 0, 1, 2
STATUS = {name: -1 - at for at, name in enumerate((
    "INVALID MEMORY STATE TIMEOUT CANCELED CONNECTION PROTOCOL UNSUPPORTED AUTH NOT_FOUND EXISTS IS_DIRECTORY NOT_DIRECTORY NOT_EMPTY "
    "DENIED CONFLICT MISMATCH TOO_LARGE NO_SPACE BUSY GONE SPAWN ISOLATION AGENT UNKNOWN_OUTCOME SYSTEM INTERNAL").split())}
NO_TIMEOUT = -1
STDOUT, STDERR, GAP, EXIT = 1, 2, 3, 4


# ---------------------------------------------------------------- The structs of the header

class CError(Structure):
    _fields_ = [("code", c_int), ("http_status", c_int), ("system_errno", c_int), ("message", c_char * 512)]


class Sized(Structure):
    """A struct that begins with its own size. Text becomes bytes, lists of text become arrays."""

    def __init__(self, **values):
        super().__init__()
        setattr(self, self._fields_[0][0], ctypes.sizeof(self))
        self._keep = []
        for name, value in values.items():
            if isinstance(value, os.PathLike):
                value = os.fspath(value)
            if isinstance(value, str):
                value = os.fsencode(value)
            if isinstance(value, (list, tuple)) and dict(self._fields_)[name] is POINTER(c_char_p):
                items = [os.fsencode(item) for item in value]
                value = (c_char_p * (len(items) + 1))(*items, None)
            if isinstance(value, ctypes.Array):
                self._keep.append(value)
                value = ctypes.cast(value, dict(self._fields_)[name])
            setattr(self, name, value)


class Call(Sized):
    _fields_ = [("size", c_size_t), ("timeout_ms", c_int64), ("cancel", c_void_p), ("queue", c_void_p), ("user", c_void_p)]


class Event(Sized):
    _fields_ = [("size", c_size_t), ("type", c_int), ("data", c_void_p), ("len", c_size_t), ("offset", c_uint64), ("stream", c_int),
                ("dropped", c_uint64), ("exit_code", c_int), ("signal", c_int), ("timed_out", c_int), ("duration_ms", c_int64),
                ("limit", c_char_p), ("survivors", c_size_t)]

    @property
    def bytes(self):
        return ctypes.string_at(self.data, self.len) if self.data else b""


class FileInfo(Sized):
    _fields_ = [("size_of_struct", c_size_t), ("name", c_char * 256), ("type", c_int), ("size", c_uint64), ("mtime_ms", c_int64),
                ("mode", c_uint), ("etag", c_char * 112)]


class Completion(Sized):
    _fields_ = [("size", c_size_t), ("user", c_void_p), ("status", c_int), ("error", CError), ("sandbox", c_void_p),
                ("process", c_void_p), ("result", c_void_p), ("bytes", c_void_p), ("files", c_void_p), ("processes", c_void_p),
                ("sandboxes", c_void_p), ("number", c_uint64), ("event", POINTER(Event)), ("file", POINTER(FileInfo)),
                ("hardware", c_void_p), ("pool", c_void_p), ("pools", c_void_p)]


class LogField(Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p)]


LOG_HOOK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p, POINTER(LogField), c_size_t)


class ClientOptions(Sized):
    _fields_ = [("size", c_size_t), ("provider", c_char_p), ("agent_path", c_char_p), ("runtime_dir", c_char_p), ("log", LOG_HOOK),
                ("log_user", c_void_p), ("log_level", c_int), ("hub_endpoint", c_char_p), ("hub_token", c_char_p),
                ("hub_namespace", c_char_p), ("ca_file", c_char_p), ("no_telemetry", c_int)]


class Bind(Structure):
    _fields_ = [("source", c_char_p), ("target", c_char_p), ("writable", c_int)]


class SandboxOptions(Sized):
    _fields_ = [("size", c_size_t), ("isolation", c_char_p), ("network", c_char_p), ("binds", POINTER(Bind)), ("bind_count", c_size_t),
                ("env", POINTER(c_char_p)), ("cwd", c_char_p), ("detached", c_int), ("idle_timeout_ms", c_int64),
                ("limit_processes", c_uint64), ("limit_memory", c_uint64), ("limit_disk", c_uint64), ("limit_open_files", c_uint64),
                ("image", c_char_p), ("flavor", c_char_p), ("secrets", POINTER(c_char_p)), ("volumes", POINTER(c_char_p)),
                ("labels", POINTER(c_char_p)), ("hub_namespace", c_char_p), ("lifetime_ms", c_int64), ("max_cost_micro_usd", c_uint64),
                ("ports", POINTER(c_uint16)), ("port_count", c_size_t), ("forward_hf_token", c_int), ("client_key", c_char_p)]


class Filter(Sized):
    _fields_ = [("size", c_size_t), ("min_age_ms", c_int64), ("labels", POINTER(c_char_p)), ("hub_namespace", c_char_p)]


class Timings(Sized):
    _fields_ = [("size", c_size_t), ("accepted_ms", c_int64), ("running_ms", c_int64), ("answered_ms", c_int64)]


class Hardware(Structure):
    _fields_ = [("flavor", c_char_p), ("title", c_char_p), ("cpu", c_char_p), ("memory", c_char_p), ("disk", c_char_p),
                ("accelerator", c_char_p), ("micro_usd_per_minute", c_int64)]


class SandboxRow(Structure):
    _fields_ = [("id", c_char_p), ("provider", c_char_p), ("created_at_ms", c_int64), ("pid", c_int64), ("detached", c_int),
                ("running", c_int), ("damaged", c_int), ("hub_namespace", c_char_p), ("stage", c_char_p), ("image", c_char_p),
                ("flavor", c_char_p), ("started_at_ms", c_int64), ("cost_micro_usd", c_int64), ("pool", c_char_p)]


class PoolOptions(Sized):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("sandboxes_per_host", c_uint), ("max_hosts", c_uint), ("warm", c_int), ("spread", c_int),
                ("detached", c_int), ("idle_timeout_ms", c_int64), ("start_timeout_ms", c_int64), ("adopt", c_int), ("image", c_char_p),
                ("flavor", c_char_p), ("hub_namespace", c_char_p)]


class PoolRow(Structure):
    _fields_ = [("name", c_char_p), ("provider", c_char_p), ("hub_namespace", c_char_p), ("image", c_char_p), ("flavor", c_char_p),
                ("hosts", c_uint64), ("sandboxes_per_host", c_uint64), ("created_at_ms", c_int64)]


class Command(Sized):
    _fields_ = [("size", c_size_t), ("argv", POINTER(c_char_p)), ("shell", c_char_p), ("env", POINTER(c_char_p)), ("cwd", c_char_p),
                ("timeout_ms", c_int64), ("input", c_char_p), ("input_len", c_size_t), ("input_open", c_int), ("background", c_int),
                ("wait_descendants", c_int), ("output_limit", c_size_t), ("tag", c_char_p)]


class WriteOptions(Sized):
    _fields_ = [("size", c_size_t), ("mode", c_int), ("no_parents", c_int), ("if_match", c_char_p), ("if_absent", c_int)]


class ProcessRow(Structure):
    _fields_ = [("id", c_char_p), ("command", c_char_p), ("tag", c_char_p), ("pid", c_int64), ("started_at_ms", c_int64),
                ("running", c_int), ("exit_code", c_int), ("signal", c_int), ("timed_out", c_int), ("stdout_start", c_uint64),
                ("stdout_end", c_uint64), ("stderr_start", c_uint64), ("stderr_end", c_uint64)]


# ---------------------------------------------------------------- The functions

_HANDLE, _OUT, _CALL, _ERR = c_void_p, POINTER(c_void_p), POINTER(Call), POINTER(CError)
_TEXT = c_char_p
SIGNATURES = {
    "version": (_TEXT,), "status_name": (_TEXT, c_int), "status_text": (_TEXT, c_int),
    "cancel_new": (c_int, _OUT, _ERR), "cancel_now": (None, _HANDLE), "cancel_free": (None, _HANDLE),
    "queue_new": (c_int, _OUT, _HANDLE, _ERR), "queue_fd": (c_int, _HANDLE),
    "queue_next": (c_int, POINTER(Completion), _HANDLE, c_int64, _ERR), "queue_free": (None, _HANDLE),
    "client_new": (c_int, _OUT, POINTER(ClientOptions), _ERR), "client_free": (None, _HANDLE),
    "sandbox_create": (c_int, _OUT, _HANDLE, POINTER(SandboxOptions), _CALL, _ERR),
    "sandbox_connect": (c_int, _OUT, _HANDLE, _TEXT, _CALL, _ERR),
    "sandbox_connect_endpoint": (c_int, _OUT, _HANDLE, _TEXT, _TEXT, _CALL, _ERR),
    "sandbox_id": (_TEXT, _HANDLE), "sandbox_kill": (c_int, _HANDLE, _CALL, _ERR),
    "sandbox_kill_by_id": (c_int, _HANDLE, _TEXT, _CALL, _ERR), "sandbox_free": (None, _HANDLE),
    "sandbox_info": (c_int, _OUT, _HANDLE, _CALL, _ERR), "sandbox_list_all": (c_int, _OUT, _HANDLE, POINTER(Filter), _CALL, _ERR),
    "sandbox_list_count": (c_size_t, _HANDLE), "sandbox_list_get": (POINTER(SandboxRow), _HANDLE, c_size_t),
    "sandbox_list_free": (None, _HANDLE), "reap": (c_int, POINTER(c_uint64), _HANDLE, POINTER(Filter), _CALL, _ERR),
    "sandbox_timings": (c_int, POINTER(Timings), _HANDLE, _ERR), "sandbox_port_url": (c_int, _OUT, _HANDLE, c_uint16, _ERR),
    "sandbox_port_headers": (c_int, _OUT, _HANDLE, c_uint16, _ERR), "client_info": (c_int, _OUT, _HANDLE, _CALL, _ERR),
    "parse_duration": (c_int, POINTER(c_int64), _TEXT, _ERR), "hardware_list_all": (c_int, _OUT, _HANDLE, _CALL, _ERR),
    "hardware_list_count": (c_size_t, _HANDLE), "hardware_list_get": (POINTER(Hardware), _HANDLE, c_size_t),
    "hardware_list_free": (None, _HANDLE),
    "pool_create": (c_int, _OUT, _HANDLE, POINTER(PoolOptions), _CALL, _ERR),
    "pool_connect": (c_int, _OUT, _HANDLE, _TEXT, POINTER(PoolOptions), _CALL, _ERR),
    "pool_name": (_TEXT, _HANDLE), "pool_free": (None, _HANDLE),
    "pool_sandbox": (c_int, _OUT, _HANDLE, POINTER(SandboxOptions), _CALL, _ERR),
    "pool_warm": (c_int, POINTER(c_uint64), _HANDLE, c_uint, _CALL, _ERR),
    "pool_info": (c_int, _OUT, _HANDLE, _CALL, _ERR), "pool_sandboxes": (c_int, _OUT, _HANDLE, _CALL, _ERR),
    "pool_delete": (c_int, POINTER(c_uint64), _HANDLE, _CALL, _ERR),
    "pool_list_all": (c_int, _OUT, _HANDLE, _TEXT, _CALL, _ERR), "pool_list_count": (c_size_t, _HANDLE),
    "pool_list_get": (POINTER(PoolRow), _HANDLE, c_size_t), "pool_list_free": (None, _HANDLE),
    "run": (c_int, _OUT, _HANDLE, POINTER(Command), _CALL, _ERR),
    "result_exit_code": (c_int, _HANDLE), "result_signal": (c_int, _HANDLE), "result_timed_out": (c_int, _HANDLE),
    "result_duration_ms": (c_int64, _HANDLE), "result_limit": (_TEXT, _HANDLE),
    "result_stdout": (c_void_p, _HANDLE, POINTER(c_size_t)), "result_stderr": (c_void_p, _HANDLE, POINTER(c_size_t)),
    "result_stdout_size": (c_size_t, _HANDLE), "result_stderr_size": (c_size_t, _HANDLE),
    "result_stdout_cut": (c_uint64, _HANDLE), "result_stderr_cut": (c_uint64, _HANDLE), "result_free": (None, _HANDLE),
    "process_start": (c_int, _OUT, _HANDLE, POINTER(Command), _CALL, _ERR),
    "process_attach": (c_int, _OUT, _HANDLE, _TEXT, _CALL, _ERR), "process_id": (_TEXT, _HANDLE), "process_pid": (c_int64, _HANDLE),
    "process_next": (c_int, POINTER(Event), _HANDLE, _CALL, _ERR), "event_free": (None, POINTER(Event)),
    "process_write": (c_int, _HANDLE, c_char_p, c_size_t, c_int, _CALL, _ERR),
    "process_signal": (c_int, POINTER(c_uint64), _HANDLE, c_int, c_int, _CALL, _ERR),
    "process_kill": (c_int, POINTER(c_uint64), _HANDLE, _CALL, _ERR),
    "process_wait": (c_int, POINTER(Event), _HANDLE, _CALL, _ERR),
    "process_output": (c_int, _OUT, POINTER(c_uint64), _HANDLE, c_int, c_uint64, c_size_t, _CALL, _ERR),
    "process_free": (None, _HANDLE), "process_list_all": (c_int, _OUT, _HANDLE, _CALL, _ERR),
    "process_list_count": (c_size_t, _HANDLE), "process_list_get": (POINTER(ProcessRow), _HANDLE, c_size_t),
    "process_list_free": (None, _HANDLE),
    "bytes_data": (c_void_p, _HANDLE), "bytes_size": (c_size_t, _HANDLE), "bytes_free": (None, _HANDLE),
    "file_info_free": (None, POINTER(FileInfo)),
    "file_read": (c_int, _OUT, _HANDLE, _TEXT, c_uint64, c_uint64, _CALL, _ERR),
    "file_write": (c_int, _HANDLE, _TEXT, c_char_p, c_size_t, POINTER(WriteOptions), _CALL, _ERR),
    "file_upload": (c_int, _HANDLE, _TEXT, _TEXT, POINTER(WriteOptions), _CALL, _ERR),
    "file_download": (c_int, _HANDLE, _TEXT, _TEXT, _CALL, _ERR),
    "file_stat": (c_int, POINTER(FileInfo), _HANDLE, _TEXT, _CALL, _ERR),
    "file_list_all": (c_int, _OUT, _HANDLE, _TEXT, _CALL, _ERR), "file_list_count": (c_size_t, _HANDLE),
    "file_list_get": (POINTER(FileInfo), _HANDLE, c_size_t), "file_list_free": (None, _HANDLE),
    "file_rename": (c_int, _HANDLE, _TEXT, _TEXT, c_int, _CALL, _ERR),
    "file_delete": (c_int, _HANDLE, _TEXT, c_int, _CALL, _ERR), "file_mkdir": (c_int, _HANDLE, _TEXT, _CALL, _ERR),
}
