# ctest: timeout=300
"""Large programs under the default limits of a sandbox among many: a browser, a JVM, a Node program; and what Python shares memory with."""
import os
import shutil

import pytest
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")


@pytest.fixture
def sandbox():
    with HostAgent() as h:
        yield h.create()[0]


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@needs("chromium")
def test_a_browser_renders_a_page(sandbox):
    page = "data:text/html,<body><script>document.body.innerHTML = `<p>${6 * 7}</p>`</script>"
    # As in every container: its own sandbox needs namespaces, and a container's /dev/shm is small.
    got = sandbox.run(["chromium", "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--dump-dom", page], timeout_s=120)
    assert b"<p>42</p>" in got.stdout and got.exit["exit_code"] == 0, got.stderr[-2000:]


@needs("javac")
def test_a_jvm(sandbox):
    program = """public class Main { public static void main(String[] args) throws Exception {
        byte[][] kept = new byte[200][]; for (int i = 0; i < 200; i++) kept[i] = new byte[1 << 20];
        Thread[] threads = new Thread[20]; for (int i = 0; i < 20; i++) { threads[i] = new Thread(() -> {}); threads[i].start(); }
        for (Thread t : threads) t.join(); System.out.println(kept.length); } }"""
    sandbox.request("PUT", "/files/write?path=Main.java", body=program.encode())
    got = sandbox.run("javac Main.java && java Main", timeout_s=120)
    assert got.stdout == b"200\n" and got.exit["exit_code"] == 0, got.stderr[-2000:]


@needs("node")
def test_a_node_program(sandbox):
    program = "new (require('worker_threads').Worker)('require(`worker_threads`).parentPort.postMessage(40 + 2)', {eval: true}).on('message', console.log)"
    got = sandbox.run(["node", "-e", program], timeout_s=60)
    assert got.stdout == b"42\n" and got.exit["exit_code"] == 0, got.stderr[-2000:]


def test_pythons_multiprocessing(sandbox):
    got = sandbox.run(["python3", "-c", "import multiprocessing as m; print(sum(m.Pool(4).map(abs, range(-9, 0))))"], timeout_s=60)
    assert got.stdout == b"45\n" and got.exit["exit_code"] == 0, got.stderr[-2000:]
