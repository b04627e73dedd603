# ctest: timeout=300
"""The files functions of the C library against a real agent, over connections that hold and over connections that are lost at
every point: each call ends with what it promises."""
import pytest
import sbx
from agent import Agent


@pytest.fixture(scope="module")
def agent():
    with Agent(static=True) as a:
        yield a


HEAD = r'''
import os, sys, tempfile, time, ctypes
import sbx
from lossy import Lossy, Rule
port, token, work = int(sys.argv[1]), sys.argv[2], sys.argv[3]
client = sbx.Client()
box = client.connect_endpoint(f"http://127.0.0.1:{port}", token)
data = os.urandom(3 << 20)

def fails(name, function, *args, **options):
    try:
        function(*args, **options)
    except sbx.Error as e:
        assert e.name == name, e
        return e
    raise AssertionError(f"no error; expected {name}")

def through(rules, **options):
    relay = Lossy(port, rules, **options)
    return relay, client.connect_endpoint(f"http://127.0.0.1:{relay.port}", token)
'''


def script(agent, tmp_path, text):
    return sbx.script(HEAD + text, agent.port, agent.token, tmp_path)


def test_everything_once(agent, tmp_path):
    script(agent, tmp_path, r'''
path = work + "/dir/f"
for size in (0, 1, 70000, 3 << 20):
    box.write(path, data[:size])
    assert box.read(path) == data[:size] == open(path, "rb").read()
assert box.read(path, 5, 10) == data[5:15] and box.read(path, 1 << 20) == data[1 << 20:] and box.read(path, 1 << 40) == b""
info = box.stat(path)
assert (info.name, info.type, info.size, info.mode & 0o777) == (b"f", 1, 3 << 20, 0o600) and info.etag.startswith(b'"')
box.write(path, b"x", mode=0o755)
assert os.stat(path).st_mode & 0o7777 == 0o755 and box.stat(path).etag != info.etag
box.mkdir(work + "/a/b"); box.mkdir(work + "/a/b")
fails("ERROR_NOT_EMPTY", box.delete, work + "/a")
box.delete(work + "/a", 1)
fails("ERROR_NOT_FOUND", box.delete, work + "/a", 1)
box.rename(path, work + "/g")
fails("ERROR_NOT_FOUND", box.read, path)
fails("ERROR_NOT_FOUND", box.stat, path)
box.write(path, b"y")
fails("ERROR_EXISTS", box.rename, path, work + "/g")
box.rename(path, work + "/g", 1)
fails("ERROR_IS_DIRECTORY", box.read, work)
fails("ERROR_IS_DIRECTORY", box.write, work, b"x")
fails("ERROR_NOT_DIRECTORY", box.list, work + "/g")
fails("ERROR_NOT_FOUND", box.write, work + "/none/f", b"x", no_parents=1)
fails("ERROR_INVALID", box.read, "")
fails("ERROR_INVALID", box.read, "x" * 5000)
fails("ERROR_INVALID", box.write, "x", b"", mode=0o10000)
fails("ERROR_INVALID", box.write, "x", b"", if_match="a\nb")
fails("ERROR_INVALID", box.write, "x", b"", if_match='"a"', if_absent=1)
fails("ERROR_TOO_LARGE", box.read, work + "/g", 0, (1 << 30) + 1)
with open(work + "/sparse", "wb") as f: f.truncate((1 << 30) + 1)
assert "sbx_file_download" in fails("ERROR_TOO_LARGE", box.read, work + "/sparse").message
assert box.read("/proc/version") == open("/proc/version", "rb").read()
''')


def test_conditions(agent, tmp_path):
    script(agent, tmp_path, r'''
path = work + "/f"
box.write(path, b"1", if_absent=1)
fails("ERROR_MISMATCH", box.write, path, b"2", if_absent=1)
tag = box.stat(path).etag
box.write(path, b"22", if_match=tag)
fails("ERROR_MISMATCH", box.write, path, b"3", if_match=tag)
assert box.read(path) == b"22"
''')


def test_lists_of_all_pages_with_the_bytes_of_names(agent, tmp_path):
    script(agent, tmp_path, r'''
d = os.fsencode(work) + b"/many"
os.mkdir(d)
names = [b"caf\xe9-%05d\xff+%%" % i if i % 50 == 0 else b"file-%05d" % i for i in range(23456)]
for n in names: os.close(os.open(d + b"/" + n, os.O_CREAT))
got = box.list(d)
assert [e.name for e in got] == sorted(names)
assert box.list(work)[0].type == 2 and got[0].type == 1 and got[0].etag == b""
os.mkdir(work + "/empty")
assert box.list(work + "/empty") == []
''')


def test_files_of_this_computer(agent, tmp_path):
    script(agent, tmp_path, r'''
os.mkdir(work + "/local"); os.chdir(work + "/local"); os.umask(0o027)
open("source", "wb").write(data)
box.upload("source", work + "/remote", mode=0o640)
assert open(work + "/remote", "rb").read() == data and os.stat(work + "/remote").st_mode & 0o7777 == 0o640
box.download(work + "/remote", "copy")
assert open("copy", "rb").read() == data and os.stat("copy").st_mode & 0o7777 == 0o640
os.chmod("copy", 0o755); os.symlink("source", "link")
box.write(work + "/remote", b"small")
box.download(work + "/remote", "copy"); box.download(work + "/remote", "link")
assert open("copy").read() == "small" and os.stat("copy").st_mode & 0o7777 == 0o755
assert not os.path.islink("link") and open("source", "rb").read() == data
open("empty", "w").close()
box.upload("empty", work + "/remote"); box.download(work + "/remote", "empty2")
assert open("empty2").read() == "" and box.stat(work + "/remote").size == 0
os.mkfifo("fifo")
fails("ERROR_NOT_FOUND", box.upload, "none", work + "/r")
fails("ERROR_IS_DIRECTORY", box.upload, ".", work + "/r")
assert fails("ERROR_SYSTEM", box.upload, "fifo", work + "/r").errno == 22
fails("ERROR_NOT_FOUND", box.download, work + "/remote", "none/x")
fails("ERROR_IS_DIRECTORY", box.download, work + "/remote", ".")
fails("ERROR_IS_DIRECTORY", box.download, work + "/remote", "x/")
fails("ERROR_SYSTEM", box.download, work + "/remote", "fifo")
fails("ERROR_NOT_FOUND", box.download, work + "/missing", "kept")
open("kept", "w").write("kept")
fails("ERROR_NOT_FOUND", box.download, work + "/missing", "kept")
assert open("kept").read() == "kept"
assert sorted(os.listdir(".")) == ["copy", "empty", "empty2", "fifo", "kept", "link", "source"]
''')


def test_asynchronous_calls_own_their_data(agent, tmp_path):
    script(agent, tmp_path, r'''
queue = sbx.Queue(client)
def later(user):
    return sbx.call(queue=queue, user=user)
buffer = ctypes.create_string_buffer(data, len(data))
assert sbx.check("file_write", box.handle, (work + "/f").encode(), ctypes.cast(buffer, ctypes.c_char_p), len(data), None, later(1)) == sbx.PENDING
ctypes.memset(buffer, 0, len(data))
done = queue.next(); assert (done.user, done.status) == (1, 0), (done.user, done.status, done.error.message)
sbx.check("file_read", None, box.handle, (work + "/f").encode(), 0, 0, later(2))
done = queue.next(); assert done.user == 2 and sbx._take_bytes(done.bytes) == data
sbx.check("file_stat", None, box.handle, (work + "/f").encode(), later(3))
done = queue.next(); assert done.file.contents.size == len(data); sbx.lib.sbx_file_info_free(done.file)
sbx.check("file_list_all", None, box.handle, work.encode(), later(4))
done = queue.next(); assert sbx.lib.sbx_file_list_count(done.files) == 1; sbx.lib.sbx_file_list_free(done.files)
os.chdir(work); sbx.check("file_download", box.handle, (work + "/f").encode(), b"local", later(5)); os.chdir("/")
done = queue.next(); assert done.status == 0 and open(work + "/local", "rb").read() == data
sbx.check("file_delete", box.handle, (work + "/none").encode(), 0, later(6))
done = queue.next(); assert done.status == sbx.NOT_FOUND
sbx.check("file_read", None, box.handle, (work + "/f").encode(), 0, 0, later(7))  # never taken
began = time.monotonic()
queue.close()
assert time.monotonic() - began < 5
''')


@pytest.mark.parametrize("cuts", [[0], [50], [1000], [500_000], [3_100_000], [1_000_000, 0, 700_000], [600_000] * 4])
def test_a_read_goes_on_where_it_was_lost(agent, tmp_path, cuts):
    script(agent, tmp_path, f"cuts = {cuts}" + r'''
box.write(work + "/f", data)
relay, lossy = through([Rule(down=n) for n in cuts])
assert lossy.read(work + "/f") == data
assert relay.cut == len([n for n in cuts if n < len(data)])
read = [h for h in relay.heads if b"files/read" in h]
if cuts == [500_000]:
    assert b"offset=" in read[1] and b"If-Match: " in read[1], read
relay, lossy = through([Rule(down=n) for n in cuts])
lossy.download(work + "/f", work + "/local")
assert open(work + "/local", "rb").read() == data
relay, lossy = through([Rule(down=n // 2) for n in cuts])
assert lossy.read(work + "/f", 1000, 2_000_000) == data[1000:2_001_000]
''')


def test_a_file_that_changes_between_two_connections_is_read_anew(agent, tmp_path):
    script(agent, tmp_path, r'''
box.write(work + "/f", data)
other = os.urandom(2 << 20)
for read in ("read", "download"):
    box.write(work + "/f", data)
    relay, lossy = through([Rule(down=1_000_000, then=lambda: box.write(work + "/f", other))])
    if read == "read":
        assert lossy.read(work + "/f") == other
    else:
        lossy.download(work + "/f", work + "/local")
        assert open(work + "/local", "rb").read() == other
relay, lossy = through([Rule(down=1_000_000, then=lambda: os.unlink(work + "/f"))])
fails("ERROR_NOT_FOUND", lossy.read, work + "/f")
''')


def test_a_peer_that_never_delivers_is_given_up(agent, tmp_path):
    script(agent, tmp_path, r'''
box.write(work + "/f", data)
relay, lossy = through([Rule(down=0) for _ in range(100)])
fails("ERROR_CONNECTION", lossy.read, work + "/f")
fails("ERROR_CONNECTION", lossy.download, work + "/f", work + "/local")
assert not os.path.exists(work + "/local") and os.listdir(work) == ["f"]
''')


def test_writes_are_repeated_only_where_that_is_safe(agent, tmp_path):
    script(agent, tmp_path, r'''
open(work + "/local", "wb").write(data)
for rule in (dict(up=0), dict(up=100_000), dict(drop_reply=True)):
    relay, lossy = through([Rule(**rule), Rule(**rule)])
    lossy.write(work + "/f", data)
    assert box.read(work + "/f") == data and relay.cut == 2
    relay, lossy = through([Rule(**rule), Rule(**rule)])
    lossy.upload(work + "/local", work + "/g")
    assert box.read(work + "/g") == data and relay.cut == 2

# With a condition: not applied, or applied once, or said to be unknown.
relay, lossy = through([Rule(up=1000)])
lossy.write(work + "/new", data, if_absent=1)
assert box.read(work + "/new") == data
relay, lossy = through([Rule(drop_reply=True)])
e = fails("ERROR_UNKNOWN_OUTCOME", lossy.write, work + "/new2", b"x", if_absent=1)
assert box.read(work + "/new2") == b"x"
tag = box.stat(work + "/new").etag
relay, lossy = through([Rule(drop_reply=True)])
fails("ERROR_UNKNOWN_OUTCOME", lossy.write, work + "/new", b"y", if_match=tag)

# A rename is sent once.
relay, lossy = through([Rule(drop_reply=True)])
fails("ERROR_UNKNOWN_OUTCOME", lossy.rename, work + "/new", work + "/renamed")
assert len([h for h in relay.heads if b"files/rename" in h]) == 1 and box.read(work + "/renamed") == b"y"

# Deleting and making directories: what was asked for holds in the end.
relay, lossy = through([Rule(drop_reply=True)])
lossy.delete(work + "/renamed")
relay, lossy = through([Rule(drop_reply=True), Rule(drop_reply=True)])
lossy.mkdir(work + "/d")
assert os.path.isdir(work + "/d") and not os.path.exists(work + "/renamed")
''')


def test_a_local_file_that_shrinks_meanwhile(agent, tmp_path):
    script(agent, tmp_path, r'''
box.write(work + "/f", b"old")
with open(work + "/local", "wb") as f: f.truncate(200 << 20)
import threading, time
# A relay that stops reading lets the upload wait in the middle.
import socket
listener = socket.create_server(("127.0.0.1", 0))
def relay():
    while True:
        near, _ = listener.accept()
        head = near.recv(65536)
        if not head: # opened and not used, where the kept connection turned out to be closed
            near.close()
            continue
        if b"PUT" not in head[:10]:
            far = socket.create_connection(("127.0.0.1", port)); far.sendall(head)
            near.sendall(far.recv(65536)); near.close(); far.close()
            continue
        os.truncate(work + "/local", 1000)
        while near.recv(1 << 20): pass
        near.close()
threading.Thread(target=relay, daemon=True).start()
slow = client.connect_endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", token)
e = fails("ERROR_CONFLICT", slow.upload, work + "/local", work + "/f")
assert box.read(work + "/f") == b"old"
''')


def test_a_full_disk_and_a_canceled_transfer_leave_the_old_file(agent, tmp_path):
    script(agent, tmp_path, r'''
box.write(work + "/f", b"old")
with open(work + "/local", "wb") as f: f.truncate(1 << 50 if os.statvfs(work).f_bavail == 0 else 1 << 43)
fails("ERROR_NO_SPACE", box.upload, work + "/local", work + "/f")
import threading
cancel = sbx.Cancel()
relay, slow = through([])
with open(work + "/local", "wb") as f: f.truncate(4 << 30)
threading.Timer(0.2, cancel.now).start()
try:
    sbx.check("file_upload", slow.handle, (work + "/local").encode(), (work + "/f").encode(), None, sbx.call(cancel=cancel))
    raise AssertionError("not canceled")
except sbx.Error as e:
    assert e.name == "ERROR_CANCELED", e
assert box.read(work + "/f") == b"old"
sbx.wait_until(lambda: sorted(os.listdir(work)) == ["f", "local"])
''')
