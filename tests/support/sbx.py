"""The public C API through ctypes, for black-box tests of the library of this build.

    import sbx
    with sbx.Client() as client, client.create() as box:
        result = box.run("echo hi")          # result.code, .out, .err, .signal, .timed_out, .limit
        box.write("a", b"data"); box.read("a"); box.list("."); box.stat("a")
        process = box.start("cat", input_open=1); process.input(b"x", end=1); list(process)
        box.kill()

Failures raise sbx.Error with .code (an SBX_ERROR number), .name ("ERROR_TIMEOUT") and .message. Everything in the header is also there raw, as
sbx.lib.sbx_...; queues: sbx.Queue. A library with AddressSanitizer can be loaded only where libasan was loaded first, so scripts that
use this module run in a Python of their own:

    sbx.script(text, *args)      runs it to its end; .stdout is its output; fails when it fails
    sbx.start_script(text, ...)  a subprocess.Popen with pipes
"""
import ctypes
import functools
import json
import os
import re
import subprocess
import sys
import time
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint, c_uint16, c_uint64, c_void_p
from pathlib import Path

BUILD = Path(os.environ.get("SBX_BUILD", Path(__file__).resolve().parents[2] / "build"))
LIBRARY = BUILD / "lib" / "libhfsandbox.so"
SUPPORT = Path(__file__).resolve().parent

OK, DONE, PENDING = 0, 1, 2
STATUS = {name: -1 - at for at, name in enumerate((
    "INVALID MEMORY STATE TIMEOUT CANCELED CONNECTION PROTOCOL UNSUPPORTED AUTH NOT_FOUND EXISTS IS_DIRECTORY NOT_DIRECTORY NOT_EMPTY "
    "DENIED CONFLICT MISMATCH TOO_LARGE NO_SPACE BUSY GONE SPAWN ISOLATION AGENT UNKNOWN_OUTCOME SYSTEM INTERNAL").split())}
globals().update(STATUS)
NO_TIMEOUT = -1
STDOUT, STDERR, GAP, EXIT = 1, 2, 3, 4


# ---------------------------------------------------------------- Running scripts

@functools.cache
def _sanitizer():
    """The sanitizer's library that the build needs loaded first, or None."""
    listing = subprocess.run(["ldd", str(LIBRARY)], capture_output=True, text=True).stdout
    found = re.search(r"/\S*lib[at]san\S*", listing)
    return found.group() if found else None


def environment(**extra):
    """Of a program that loads the library by dlopen: extra values of None remove a variable."""
    env = dict(os.environ, SBX_BUILD=str(BUILD), PYTHONPATH=str(SUPPORT), PYTHONDONTWRITEBYTECODE="1")
    if _sanitizer():
        env["LD_PRELOAD"] = _sanitizer()
        # Python itself never frees everything.
        env["ASAN_OPTIONS"] = "detect_leaks=0:verify_asan_link_order=0:" + env.get("ASAN_OPTIONS", "")
    for name, value in extra.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


def start_script(text, *args, env=None, **popen):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", text, *map(str, args)], env=environment(**(env or {})), **{**pipes, **popen})


def read_line(process):
    """Its next line, and not a byte more: what is left is for communicate, which does not look into Python's buffers."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def script(text, *args, env=None, timeout=120, status=0):
    done = subprocess.run([sys.executable, "-c", text, *map(str, args)], env=environment(**(env or {})), timeout=timeout,
                          capture_output=True, text=True)
    assert done.returncode == status, f"the script ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Sanitizer" not in done.stderr and "runtime error:" not in done.stderr, done.stderr
    return done


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
                ("hardware", c_void_p)]


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
                ("flavor", c_char_p), ("started_at_ms", c_int64), ("cost_micro_usd", c_int64)]


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
_SIGNATURES = {
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


class _Library:
    """Loaded at the first use, so that a test file can import this module where the library cannot be loaded."""

    def __getattr__(self, name):
        if name == "_loaded":
            self._loaded = ctypes.CDLL(str(LIBRARY), use_errno=True)
            return self._loaded
        function = getattr(self._loaded, name)
        function.restype, *function.argtypes = _SIGNATURES[name.removeprefix("sbx_")]
        setattr(self, name, function)
        return function


lib = _Library()


class Error(Exception):
    def __init__(self, status, err):
        self.code, self.http_status, self.errno = status, err.http_status, err.system_errno
        self.message = err.message.decode("utf-8", "replace")
        self.name = lib.sbx_status_name(status).decode()
        super().__init__(f"{self.name}: {self.message}")


def check(short, *args):
    """Calls sbx_<short>(*args, &err); negative statuses raise. Returns the status."""
    err = CError()
    status = getattr(lib, "sbx_" + short)(*args, byref(err))
    if status < 0:
        raise Error(status, err)
    return status


def make(short, *args):
    """The same for functions whose first parameter is a handle's `out`; returns the handle."""
    out = c_void_p()
    check(short, byref(out), *args)
    return out


def call(timeout_ms=0, cancel=None, queue=None, user=None):
    if timeout_ms == 0 and cancel is None and queue is None:
        return None
    return byref(Call(timeout_ms=timeout_ms, cancel=getattr(cancel, "handle", cancel), queue=getattr(queue, "handle", queue), user=user))


def _path(path):
    return os.fsencode(path)


# ---------------------------------------------------------------- Objects

class Handle:
    free = ""

    def __init__(self, handle):
        self.handle = handle

    def close(self):
        handle, self.handle = self.handle, None
        if handle is not None:
            getattr(lib, "sbx_" + self.free)(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Cancel(Handle):
    free = "cancel_free"

    def __init__(self):
        super().__init__(make("cancel_new"))

    def now(self):
        lib.sbx_cancel_now(self.handle)


class Queue(Handle):
    free = "queue_free"

    def __init__(self, client):
        super().__init__(make("queue_new", client.handle))

    def fileno(self):
        return lib.sbx_queue_fd(self.handle)

    def next(self, timeout_ms=30000):
        """A Completion, or None when none came in time."""
        done = Completion()
        return done if check("queue_next", byref(done), self.handle, timeout_ms) == OK else None


def _row(struct, **more):
    values = {name: getattr(struct, name) for name, _ in struct._fields_}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()} | more


class Client(Handle):
    free = "client_free"

    def __init__(self, **options):
        """Options as in sbx_client_options. agent_path: $HFSANDBOX_AGENT or the static agent of this build unless said otherwise."""
        options.setdefault("agent_path", os.environ.get("HFSANDBOX_AGENT", BUILD / "bin" / "hfsandbox-agent"))
        self._options = ClientOptions(**options)
        super().__init__(make("client_new", byref(self._options)))

    def create(self, timeout_ms=0, cancel=None, binds=(), **options):
        """Options as in sbx_sandbox_options; binds: (source, target or None, writable)."""
        if binds:
            items = [Bind(_path(s), None if t is None else _path(t), w) for s, t, w in binds]
            options.update(binds=(Bind * len(items))(*items), bind_count=len(items))
        if "ports" in options:
            ports = options["ports"]
            options.update(ports=(c_uint16 * len(ports))(*ports), port_count=len(ports))
        given = SandboxOptions(**options)
        return Sandbox(make("sandbox_create", self.handle, byref(given), call(timeout_ms, cancel)))

    def connect(self, id, timeout_ms=0):
        return Sandbox(make("sandbox_connect", self.handle, id.encode(), call(timeout_ms)))

    def connect_endpoint(self, endpoint, token=None, timeout_ms=0):
        token = None if token is None else token.encode()
        return Sandbox(make("sandbox_connect_endpoint", self.handle, endpoint.encode(), token, call(timeout_ms)))

    def list(self, **filter):
        """Rows as dictionaries; filter: min_age_ms, labels, hub_namespace."""
        found = make("sandbox_list_all", self.handle, byref(Filter(**filter)), None)
        try:
            rows = [lib.sbx_sandbox_list_get(found, i).contents for i in range(lib.sbx_sandbox_list_count(found))]
            return [_row(r, detached=bool(r.detached), running=bool(r.running), damaged=bool(r.damaged)) for r in rows]
        finally:
            lib.sbx_sandbox_list_free(found)

    def kill(self, id, timeout_ms=0):
        check("sandbox_kill_by_id", self.handle, id.encode(), call(timeout_ms))

    def reap(self, min_age_ms=0, **filter):
        number = c_uint64()
        check("reap", byref(number), self.handle, byref(Filter(min_age_ms=min_age_ms, **filter)), None)
        return number.value

    def info(self):
        return json.loads(_take_bytes(make("client_info", self.handle, None)))

    def hardware(self):
        found = make("hardware_list_all", self.handle, None)
        try:
            return [_row(lib.sbx_hardware_list_get(found, i).contents) for i in range(lib.sbx_hardware_list_count(found))]
        finally:
            lib.sbx_hardware_list_free(found)


class Result:
    """A copy of an sbx_result, which it frees."""

    def __init__(self, handle):
        self.code, self.signal = lib.sbx_result_exit_code(handle), lib.sbx_result_signal(handle)
        self.timed_out, self.duration_ms = bool(lib.sbx_result_timed_out(handle)), lib.sbx_result_duration_ms(handle)
        limit = lib.sbx_result_limit(handle)
        self.limit = None if limit is None else limit.decode()
        self.out = ctypes.string_at(lib.sbx_result_stdout(handle, None), lib.sbx_result_stdout_size(handle))
        self.err = ctypes.string_at(lib.sbx_result_stderr(handle, None), lib.sbx_result_stderr_size(handle))
        self.out_cut, self.err_cut = lib.sbx_result_stdout_cut(handle), lib.sbx_result_stderr_cut(handle)
        lib.sbx_result_free(handle)


def _take_bytes(handle):
    data = ctypes.string_at(lib.sbx_bytes_data(handle), lib.sbx_bytes_size(handle))
    lib.sbx_bytes_free(handle)
    return data


def _command(command, options):
    if "input" in options:
        options["input_len"] = len(options["input"])
    return byref(Command(**({"shell": command} if isinstance(command, str) else {"argv": command}), **options))


class Sandbox(Handle):
    free = "sandbox_free"

    @property
    def id(self):
        return lib.sbx_sandbox_id(self.handle).decode()

    def run(self, command, call_timeout_ms=0, cancel=None, **options):
        """command: text for the shell, or a list of arguments. Options as in sbx_command."""
        return Result(make("run", self.handle, _command(command, options), call(call_timeout_ms, cancel)))

    def start(self, command, call_timeout_ms=0, **options):
        return Process(make("process_start", self.handle, _command(command, options), call(call_timeout_ms)))

    def attach(self, id):
        return Process(make("process_attach", self.handle, str(id).encode(), None))

    def processes(self):
        found = make("process_list_all", self.handle, None)
        try:
            rows = [lib.sbx_process_list_get(found, i).contents for i in range(lib.sbx_process_list_count(found))]
            return [{name: getattr(row, name) for name, _ in ProcessRow._fields_} for row in rows]
        finally:
            lib.sbx_process_list_free(found)

    def info(self):
        return json.loads(_take_bytes(make("sandbox_info", self.handle, None)))

    def port_url(self, port):
        return _take_bytes(make("sandbox_port_url", self.handle, port)).decode()

    def port_headers(self, port):
        """As a dictionary."""
        text = _take_bytes(make("sandbox_port_headers", self.handle, port)).decode()
        assert not text or text.endswith("\r\n")
        return dict(line.split(": ", 1) for line in text.split("\r\n")[:-1])

    def kill(self, timeout_ms=0):
        check("sandbox_kill", self.handle, call(timeout_ms))

    def read(self, path, offset=0, length=0):
        return _take_bytes(make("file_read", self.handle, _path(path), offset, length, None))

    def write(self, path, data, **options):
        check("file_write", self.handle, _path(path), data, len(data), byref(WriteOptions(**options)), None)

    def upload(self, local, path, **options):
        check("file_upload", self.handle, _path(local), _path(path), byref(WriteOptions(**options)), None)

    def download(self, path, local):
        check("file_download", self.handle, _path(path), _path(local), None)

    def stat(self, path):
        info = FileInfo()
        check("file_stat", byref(info), self.handle, _path(path), None)
        return info

    def list(self, path):
        found = make("file_list_all", self.handle, _path(path), None)
        try:
            return [FileInfo.from_buffer_copy(lib.sbx_file_list_get(found, i).contents) for i in range(lib.sbx_file_list_count(found))]
        finally:
            lib.sbx_file_list_free(found)

    def rename(self, source, target, replace=0):
        check("file_rename", self.handle, _path(source), _path(target), replace, None)

    def delete(self, path, recursive=0):
        check("file_delete", self.handle, _path(path), recursive, None)

    def mkdir(self, path):
        check("file_mkdir", self.handle, _path(path), None)


class Process(Handle):
    free = "process_free"

    @property
    def id(self):
        return lib.sbx_process_id(self.handle).decode()

    @property
    def pid(self):
        return lib.sbx_process_pid(self.handle)

    def next(self, timeout_ms=0):
        """(event, bytes), or None after the exit event."""
        event = Event()
        return (event, event.bytes) if check("process_next", byref(event), self.handle, call(timeout_ms)) == OK else None

    def __iter__(self):
        return iter(self.next, None)

    def input(self, data, end=0, timeout_ms=0):
        check("process_write", self.handle, data, len(data), end, call(timeout_ms))

    def signal(self, number, whole_tree=1):
        count = c_uint64()
        check("process_signal", byref(count), self.handle, number, whole_tree, None)
        return count.value

    def kill(self):
        count = c_uint64()
        check("process_kill", byref(count), self.handle, None)
        return count.value

    def wait(self, timeout_ms=0):
        event = Event()
        check("process_wait", byref(event), self.handle, call(timeout_ms))
        return event

    def output(self, stream=STDOUT, offset=0, max=0):
        """(where the bytes begin, bytes)"""
        begin = c_uint64()
        out = c_void_p()
        check("process_output", byref(out), byref(begin), self.handle, stream, offset, max, None)
        return begin.value, _take_bytes(out)


# ---------------------------------------------------------------- What the machine shows

def children(pid=None):
    """The pids of the living children and zombies of a process, all its threads together."""
    pid = pid or os.getpid()
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:
            pass
    return [int(each) for each in found]


def descriptors(pid=None):
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))


def wait_until(condition, timeout=10, what="the condition"):
    """Polls for something that has no event of its own; returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.005)
