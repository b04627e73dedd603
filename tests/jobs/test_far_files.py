"""Large files to and from a sandbox that is far away: over several connections, byte-exact and whole whatever gets lost on the way."""
# ctest: timeout=300
import pytest
from localhub import Hub

BOX = """
import hashlib, random
def data(size, seed=1):
    return random.Random(seed).randbytes(size)
def digest(path):
    return box.run(["sha256sum", path]).out.split()[0].decode()
def hidden(directory="/tmp"):
    return box.run("ls -A %s | grep ^.sbx- | wc -l" % directory).out.strip() != b"0"
MIB = 1 << 20
client = sbx.Client()
box = client.create()
"""


@pytest.fixture(scope="module")
def far():
    from conftest import Program
    with Hub(rtt=0.02) as hub:
        hub.program = Program(hub)
        yield hub


@pytest.fixture
def hub(far):
    yield far
    far.clear_faults()


def script(hub, text, *args, **more):
    return hub.program.run(BOX + text, *args, **more)


def streams(hub, method):
    """Requests for contents, and connections that carried them, of the last job."""
    found = [r for r in hub.requests.of("proxy", method=method, job=hub.jobs.last().id) if "/v1/files/" in r.path]
    return len(found), len({r.connection for r in found})


def test_every_size(hub, tmp_path):
    script(hub, """
up, down = sys.argv[1:]
for size in (0, 1, MIB, MIB + 1, 5 * MIB + 7, 20 * MIB):
    what = data(size)
    box.write("/tmp/a", what)
    assert digest("/tmp/a") == hashlib.sha256(what).hexdigest(), size
    assert box.read("/tmp/a") == what, size
    open(up, "wb").write(what)
    box.upload(up, "/tmp/b")
    assert digest("/tmp/b") == hashlib.sha256(what).hexdigest(), size
    box.download("/tmp/b", down)
    assert open(down, "rb").read() == what, size
for offset, length in ((0, MIB), (0, MIB + 1), (3, 0), (5 * MIB + 1, 9 * MIB), (19 * MIB, 5 * MIB), (20 * MIB, 0), (30 * MIB, 1)):
    assert box.read("/tmp/a", offset, length) == what[offset:offset + length if length else None], (offset, length)
assert not hidden()
assert box.read("/proc/self/maps") and box.read("/proc/kallsyms", 0, 3)  # which have neither a size nor a tag; the second is long
assert len(box.read("/proc/kallsyms")) == int(box.run("cat /proc/kallsyms | wc -c").out)
""", tmp_path / "up", tmp_path / "down")


@pytest.mark.parametrize("off", [None, "far-streams"])
def test_several_connections(hub, off):
    script(hub, "box.write('/tmp/a', data(8 * MIB)); assert box.read('/tmp/a') == data(8 * MIB)", off=off)
    writes, reads = streams(hub, "PUT"), streams(hub, "GET")
    if off is None:
        assert writes[0] > 10 and writes[1] > 10 and reads[0] > 10 and reads[1] > 10, (writes, reads)
    else:
        assert writes == reads == (1, 1)


def test_a_small_upload_needs_no_connection_of_its_own(hub, tmp_path):
    (tmp_path / "file").write_bytes(b"small")
    script(hub, "for n in range(3):\n    box.upload(sys.argv[1], f'/tmp/{n}')", tmp_path / "file")
    assert streams(hub, "PUT") == (3, 1)


def test_options_hold(hub):
    script(hub, """
big = data(3 * MIB)
box.write("/tmp/d/e/f", big, mode=0o751)
assert box.stat("/tmp/d/e/f").mode == 0o751
box.write("/tmp/d/e/f", big)
assert box.stat("/tmp/d/e/f").mode == 0o751
box.run("ln -s d/e/f /tmp/link")
box.write("/tmp/link", big[::-1])
assert box.read("/tmp/d/e/f") == big[::-1] and box.stat("/tmp/link").type == 3
def fails(code, *args, **options):
    try:
        box.write(*args, **options)
    except sbx.Error as error:
        assert error.code == code, error
    else:
        raise AssertionError("it was written")
fails(sbx.NOT_FOUND, "/tmp/no/such", big, no_parents=1)
fails(sbx.IS_DIRECTORY, "/tmp/d", big)
tag = box.stat("/tmp/d/e/f").etag.decode()
fails(sbx.MISMATCH, "/tmp/d/e/f", big, if_absent=1)
fails(sbx.MISMATCH, "/tmp/d/e/f", big, if_match=tag[:-2] + ('1"' if tag[-2] == "0" else '0"'))
box.write("/tmp/d/e/f", big, if_match=tag)
fails(sbx.MISMATCH, "/tmp/d/e/f", big, if_match=tag)
box.write("/tmp/new", big, if_absent=1)
assert box.read("/tmp/new") == box.read("/tmp/d/e/f") == big
sbx.wait_until(lambda: not any(map(hidden, ("/tmp", "/tmp/d", "/tmp/d/e"))), what="the end of what was refused")
""")


@pytest.mark.parametrize("cut", ["before", "after", "request", "reply"])
def test_losses(hub, cut):
    """One in eight requests is lost, in each way; the bytes are all there."""
    fault = hub.fault("proxy", cut=cut, rate=0.12, path="/v1/files/", bytes=50000)
    script(hub, """
import tempfile
with tempfile.TemporaryDirectory() as local:
    for n in range(1):
        what = data(6 * MIB, n)
        box.write("/tmp/a", what)
        assert box.read("/tmp/a") == what
        open(local + "/up", "wb").write(what)
        box.upload(local + "/up", "/tmp/b")
        box.download("/tmp/b", local + "/down")
        assert open(local + "/down", "rb").read() == what and digest("/tmp/b") == digest("/tmp/a")
""")
    assert hub.proxy.hits(fault) > 2


@pytest.mark.parametrize("conditional", [True, False])
def test_the_reply_to_the_end_is_lost(hub, conditional):
    """Without a condition the write is asked for again; with one nobody can say whether it has happened, and that is said."""
    hub.fault("proxy", cut="after", method="PUT", path="&part=", skip=12, count=1)  # 3 MiB are 12 parts and the end
    out = script(hub, """
try:
    box.write("/tmp/a", data(3 * MIB), if_absent=int(sys.argv[1]))
except sbx.Error as error:
    print(error.name)
assert box.read("/tmp/a") == data(3 * MIB)
""", int(conditional))
    writes = [r.path for r in hub.requests.of("proxy", method="PUT", job=hub.jobs.last().id)]
    assert sum("offset" in path for path in writes) >= 12
    assert out == ("ERROR_UNKNOWN_OUTCOME\n" if conditional else "")


def test_a_file_that_changes_meanwhile(hub):
    """What is read is one of the files that were there, never a mixture."""
    script(hub, """
box.write("/tmp/0", bytes([0]) * 6 * MIB)
box.write("/tmp/1", bytes([1]) * 6 * MIB)
box.run("cp /tmp/0 /tmp/a")
turns = box.start("n=0; while :; do n=$((1 - n)); cp /tmp/$n /tmp/b; mv /tmp/b /tmp/a; sleep 0.1; done")
seen = set()
for _ in range(12):
    try:
        what = box.read("/tmp/a")
    except sbx.Error as error:
        assert error.code in (sbx.MISMATCH, sbx.CONNECTION), error
        continue
    assert len(what) == 6 * MIB and len(set(what)) == 1, "a mixture"
    seen.add(what[0])
turns.kill()
assert seen
""")


@pytest.mark.parametrize("off", [None, "parts-removed"])
def test_a_write_that_is_broken_off_leaves_nothing(hub, off):
    """The old file stays, and the unfinished one goes."""
    hub.fault("proxy", hang=True, method="PUT", path="offset=2", count=8)
    out = script(hub, """
box.write("/tmp/a", b"old")
what = data(8 * MIB)
try:
    sbx.check("file_write", box.handle, b"/tmp/a", what, len(what), None, sbx.call(timeout_ms=1500))
    raise AssertionError("it was written")
except sbx.Error as error:
    assert error.code == sbx.TIMEOUT, error
assert box.read("/tmp/a") == b"old"
deadline = time.monotonic() + (2 if len(sys.argv) > 1 else 20)
while hidden() and time.monotonic() < deadline:
    pass
print(hidden())
""", *([off] if off else []), off=off)
    assert out.strip() == str(off is not None)
