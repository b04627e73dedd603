"""The public C API through ctypes, for black-box tests of the library of this build.

    import sbx
    with sbx.Client() as client, client.create() as box:
        result = box.run("echo hi")          # result.code, .out, .err, .signal, .timed_out, .limit
        box.write("a", b"data"); box.read("a"); box.list("."); box.stat("a")
        process = box.start("cat", input_open=1); process.input(b"x", end=1); list(process)
        box.kill()

Failures raise sbx.Error with .code (an SBX_ERROR number), .name ("ERROR_TIMEOUT") and .message. Everything in the header is also there raw, as
sbx.lib.sbx_...; queues: sbx.Queue. Scripts that use this module run by sbx.script and sbx.start_script (scripts.py).
"""
import ctypes
import json
import os
from ctypes import byref, c_uint16, c_uint64, c_void_p

from machine import children, descriptors, wait_until  # noqa: F401
from sbx_header import *  # noqa: F403
from sbx_header import SIGNATURES, STATUS
from scripts import BUILD, LIBRARY, environment, read_line, script, start_script  # noqa: F401

globals().update(STATUS)


class _Library:
    """Loaded at the first use, so that a test file can import this module where the library cannot be loaded."""

    def __getattr__(self, name):
        if name == "_loaded":
            self._loaded = ctypes.CDLL(str(LIBRARY), use_errno=True)
            return self._loaded
        function = getattr(self._loaded, name)
        function.restype, *function.argtypes = SIGNATURES[name.removeprefix("sbx_")]
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
