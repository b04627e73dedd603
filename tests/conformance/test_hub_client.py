"""The real huggingface_hub (the newest that pip finds) drives the agent over TCP, without a Hub: its transport class is given the
agent's address and token, everything above and below is its own code."""
# ctest: timeout=600
import hashlib
import os
import random
import signal
import threading
import time

import pytest

hub = pytest.importorskip("huggingface_hub")
from huggingface_hub import HfApi, _sandbox  # noqa: E402
from huggingface_hub.errors import SandboxCommandError, SandboxError  # noqa: E402

from agent import Agent, wait_until  # noqa: E402

MIB = 1 << 20


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def connect(agent, token=None, connections=18):
    server = _sandbox._SandboxServer(job_id="0" * 24, owner="nobody", image=None, base_url=agent.url, nonce="0" * 32,
                                     sandbox_token=token or agent.token, api=HfApi(token="hf_nothing", endpoint="http://127.0.0.1:9"),
                                     max_connections=connections)
    return _sandbox.Sandbox(id="0" * 24, server=server, local_id=None, owns_sandbox=False, owns_server=True)


@pytest.fixture(scope="module")
def box(agent):
    with connect(agent) as sandbox:
        yield sandbox


def test_ready(agent, box):
    """The readiness wait of the client accepts the agent's protocol number."""
    box._server.wait_ready(5)


def test_wrong_token(agent):
    with connect(agent, token="wrong") as sandbox, pytest.raises(SandboxError) as caught:
        sandbox.run("true")
    assert caught.value.status_code == 403


def test_run_result(box):
    result = box.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.exit_code, result.signal, result.timed_out) == ("out\n", "err\n", 0, None, False)
    assert result.ok and 0 <= result.duration_ms < 10_000


def test_run_arguments_are_not_joined(box):
    assert box.run(["printf", "%s|", "a b", "$HOME", "*"]).stdout == "a b|$HOME|*|"
    assert box.run("echo $((6 * 7))", shell=True).stdout == "42\n"


def test_run_callbacks_come_live(box):
    """The first piece is there while the command still waits for a file that the callback makes."""
    pieces, errors = [], []

    def on_stdout(text):
        pieces.append(text)
        if "".join(pieces) == "first\n":
            box.files.write("/tmp/sbx-conformance-go", "")

    box.run("rm -f /tmp/sbx-conformance-go; echo first; until [ -e /tmp/sbx-conformance-go ]; do sleep 0.01; done; "
            "echo second; echo problem >&2; rm /tmp/sbx-conformance-go", on_stdout=on_stdout, on_stderr=errors.append, timeout=20)
    assert "".join(pieces) == "first\nsecond\n" and "".join(errors) == "problem\n"


def test_run_without_capture(box):
    size = []
    result = box.run("head -c 3000000 /dev/zero | tr '\\0' x", on_stdout=lambda text: size.append(len(text)), capture_output=False)
    assert sum(size) == 3_000_000 and result.stdout == ""


def test_run_stdin_env_cwd(box):
    assert box.run("cat", stdin="héllo\n" * 1000).stdout == "héllo\n" * 1000
    assert box.run("cat").stdout == ""
    assert box.run("echo $NUMBER $TEXT $TRUE", env={"NUMBER": 7, "TEXT": "a b", "TRUE": True}).stdout.strip().lower() == "7 a b true"
    assert box.run("pwd", cwd="/usr/share").stdout == "/usr/share\n"


def test_run_timeout_kills_the_tree(box, tmp_path):
    start = time.monotonic()
    result = box.run(f"echo before; sleep 300 & echo $! > {tmp_path}/pid; wait", timeout=0.5, check=False)
    assert time.monotonic() - start < 10
    assert result.timed_out and result.signal == 9 and result.exit_code is None and result.stdout == "before\n"
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().split()[2] == "Z", what="the end of the child")


def test_run_check(box):
    with pytest.raises(SandboxCommandError) as caught:
        box.run("echo partly; exit 7")
    assert caught.value.result.exit_code == 7 and caught.value.result.stdout == "partly\n"
    assert box.run("exit 7", check=False).exit_code == 7
    assert box.run("kill -TERM $$", check=False).signal == signal.SIGTERM


def test_run_bad_requests(box):
    for arguments in (dict(cmd=["/no/such/program"]), dict(cmd="true", cwd="/no/such/directory"), dict(cmd=[])):
        with pytest.raises(SandboxError) as caught:
            box.run(**arguments)
        assert caught.value.status_code == 400


def test_text_is_never_torn(box):
    """5c 3: a character at every read boundary."""
    assert box.run("printf a; yes '€' | head -n 40000 | tr -d '\\n'").stdout == "a" + "€" * 40000


def test_output_survives_the_command(box):
    """5c 1: nothing printed is lost because the command ended."""
    for _ in range(200):
        assert box.run("echo hi").stdout == "hi\n"
    assert box.run("seq 1 20000").stdout == "".join(f"{n}\n" for n in range(1, 20001))


def test_concurrent_runs(agent):
    with connect(agent, connections=40) as sandbox:
        results, threads = {}, []
        for n in range(40):
            thread = threading.Thread(target=lambda n=n: results.update({n: sandbox.run(f"sleep 0.1; echo {n}").stdout}))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
    assert results == {n: f"{n}\n" for n in range(40)}


def test_background(box):
    process = box.run("echo started; exec sleep 300", background=True)
    assert process.id and process.pid > 0
    listed = {p.id: p for p in box.processes()}
    assert listed[process.id].running and listed[process.id].pid == process.pid and listed[process.id].cmd == process.cmd
    assert process.kill() is True
    wait_until(lambda: not os.path.exists(f"/proc/{process.pid}"), what="the end of the process")
    assert process.kill() is False


def test_background_that_ends(box):
    process = box.run("exit 3", background=True)
    entry = wait_until(lambda: next((p for p in box.processes() if p.id == process.id and not p.running), None), what="its end")
    assert entry.exit_code == 3
    assert process.kill() is False


def test_listed_process_kill(box):
    """A handle made by the list, not by the start."""
    process = box.run(["sleep", "300"], background=True)
    [entry] = [p for p in box.processes() if p.pid == process.pid]
    assert entry.cmd == ["sleep", "300"] and entry.kill() is True
    wait_until(lambda: not os.path.exists(f"/proc/{process.pid}"), what="the end of the process")


def test_files(box, tmp_path):
    path = f"{tmp_path}/a/b/file.txt"
    box.files.write(path, "héllo")
    assert box.files.read(path) == "héllo".encode() and box.files.read_text(path) == "héllo"
    entry = box.files.stat(path)
    assert (entry.name, entry.path, entry.type, entry.size) == ("file.txt", path, "file", 6) and entry.mtime_ms > 10**12
    box.files.write(path, b"\0\xff", mode="755")
    assert box.files.read(path) == b"\0\xff" and box.files.stat(path).mode == "755"
    box.files.mkdir(f"{tmp_path}/a/c/d")
    box.files.mkdir(f"{tmp_path}/a/c/d")
    os.symlink("nowhere", tmp_path / "a/link")
    assert [(e.name, e.type) for e in box.files.list(f"{tmp_path}/a")] == [("b", "dir"), ("c", "dir"), ("link", "symlink")]
    assert box.files.exists(path) and not box.files.exists(f"{path}.not")
    with pytest.raises(SandboxError) as caught:
        box.files.delete(f"{tmp_path}/a")
    assert caught.value.status_code == 400
    box.files.delete(path)
    box.files.delete(f"{tmp_path}/a", recursive=True)
    assert not box.files.exists(f"{tmp_path}/a")


def test_file_errors(box, tmp_path):
    with pytest.raises(SandboxError) as caught:
        box.files.read(f"{tmp_path}/none")
    assert caught.value.status_code == 404
    with pytest.raises(SandboxError) as caught:
        box._request("GET", "/files/read", params={"path": str(tmp_path)})
    assert caught.value.status_code == 409
    with pytest.raises(SandboxError):
        box.files.list(f"{tmp_path}/none")


def test_awkward_names(box, tmp_path):
    for name in ("with space", "a+b", "per%20cent", "ü€", "quo\"te", "semi;colon&x=1", "#hash?"):
        box.files.write(f"{tmp_path}/{name}", name)
        assert box.files.read_text(f"{tmp_path}/{name}") == name
        assert (tmp_path / name).read_text() == name
    assert len(box.files.list(str(tmp_path))) == 7


def test_a_directory_in_pages(box, tmp_path):
    for n in range(10_500):
        (tmp_path / f"{n:05}").touch()
    assert [e.name for e in box.files.list(str(tmp_path))] == [f"{n:05}" for n in range(10_500)]


def test_64_mib_both_ways(box, tmp_path):
    """Parallel ranges of 1 MiB on 16 connections, in any order."""
    data = random.Random(1).randbytes(64 * MIB + 12345)
    (tmp_path / "local").write_bytes(data)
    box.files.upload(tmp_path / "local", f"{tmp_path}/remote", mode="640")
    assert hashlib.sha256((tmp_path / "remote").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert box.files.stat(f"{tmp_path}/remote").mode == "640"
    box.files.download(f"{tmp_path}/remote", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert box.files.read(f"{tmp_path}/remote") == data


def test_overwrite_by_shorter(box, tmp_path):
    """5c 7: in ranges, whole, and from ranges to whole."""
    path = f"{tmp_path}/file"
    for size in (5 * MIB, 3 * MIB, 1000, 4 * MIB, 0):
        data = random.Random(size).randbytes(size)
        box.files.write(path, data)
        assert box.files.read(path) == data


def test_proc_files(box):
    """5c 8: files whose size is 0 until they are read."""
    response = box._request("GET", "/files/read", params={"path": "/proc/self/status"})
    assert response.text.startswith("Name:")


def test_the_client_in_threads(box, tmp_path):
    """Files and commands at once over one connection pool."""
    failures = []

    def work(n):
        try:
            for i in range(10):
                data = random.Random(n * 100 + i).randbytes(1 + n * 30_000)
                box.files.write(f"{tmp_path}/{n}", data)
                assert box.files.read(f"{tmp_path}/{n}") == data
                assert box.run(["cksum"], stdin="x" * n).ok
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
