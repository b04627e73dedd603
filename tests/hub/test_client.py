"""The proof that the local Hub is one: the unmodified huggingface_hub, the newest that pip finds, runs jobs and dedicated sandboxes on it.
Only settings that it documents are set: HF_ENDPOINT, HF_TOKEN, HF_HOME, and SSL_CERT_FILE for the CA.

Its releases pin the digest of the program that the Hub publishes for sandboxes. Ours is another, so the images here take the way out that the
client documents for images which cannot compute digests: no such tool, and SBX_ALLOW_UNVERIFIED_SERVER=1 in the image's environment (or in env=
of a dedicated sandbox). That the check itself is untouched is a test, too."""
# ctest: timeout=600
import sys

import pytest

pytest.importorskip("huggingface_hub")
from agent import wait_until  # noqa: E402
from localhub import Accounts, Hub  # noqa: E402

START = """
import os, sys, time
from huggingface_hub import *
from huggingface_hub.errors import *
api = HfApi()
"""


@pytest.fixture(scope="module", params=["plain", "tls"])
def hub(request):
    with Hub(tls=request.param == "tls") as h:
        yield h


def client(hub, script, token=None, **env):
    """The script in a process of its own, as a user's; its output."""
    done = hub.run([sys.executable, "-c", START + script], env=hub.environ(token=token, **env), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}\n{[(job.stage, job.message, job.logs[-10:]) for job in hub.jobs]}"
    return done.stdout


def test_a_job(hub):
    text = client(hub, """
job = run_job(image="python:3.12", command=["sh", "-c", "echo one; echo two >&2; env; exit 3"], env={"A": 1}, secrets={"S": "hidden"},
              labels={"group": "g"}, timeout="10m")
assert job.status.stage == "SCHEDULING" and job.environment == {"A": "1"} and job.secrets == {"S": ""} and job.owner.name == "alice"
done = wait_for_job(job.id, poll_interval=0.05, timeout=60)
assert done.status.stage == "ERROR" and "3" in done.status.message, done
lines = list(fetch_job_logs(job_id=job.id))
assert lines[:2] == ["one", "two"] and "A=1" in lines and "S=hidden" in lines and f"JOB_ID={job.id}" in lines, lines
assert list(fetch_job_logs(job_id=job.id, tail=2)) == lines[-2:]
assert [j.id for j in list_jobs(labels={"group": "g"})][0] == job.id and not list(list_jobs(status="RUNNING", labels={"group": "g"}))
assert api.update_job_labels(job_id=job.id, labels={"x": "y"}).labels == {"x": "y"}
assert inspect_job(job_id=job.id).labels == {"x": "y"}
try:
    inspect_job(job_id="0" * 24)
    raise AssertionError("an unknown job was found")
except JobNotFoundError:
    pass
print(job.labels["name"] if job.labels else None, [h.name for h in api.list_jobs_hardware()][0], whoami()["name"])
""")
    assert text.split()[-2:] == ["cpu-basic", "alice"] and text.startswith("python-3-12-")


def test_following_logs_and_canceling(hub):
    client(hub, """
job = run_job(image="python:3.12", command=["sh", "-c", "echo first; sleep 1000"])
for line in fetch_job_logs(job_id=job.id, follow=True):
    assert line == "first"
    cancel_job(job_id=job.id)
assert wait_for_job(job.id, poll_interval=0.05).status.stage == "CANCELED"
""")
    wait_until(lambda: not hub.jobs.last().processes(), what="the end of its processes")


def test_metrics(hub):
    client(hub, """
job = run_job(image="python:3.12", command=["sleep", "1000"])
wait_for_job(job.id, stages=["RUNNING"], poll_interval=0.05)
[sample] = api.fetch_job_metrics(job_id=job.id)
assert sample["memory_used_bytes"] > 0, sample
cancel_job(job_id=job.id)
assert list(api.fetch_job_metrics(job_id=job.id)) == []
""")


def test_the_name_of_a_default_job(hub):
    """PROTOCOL 3, the vector: python:3.12 and python -c print('Hello')."""
    client(hub, """
job = run_job(image="python:3.12", command=["python", "-c", "print('Hello')"])
assert inspect_job(job_id=job.id).labels == {"name": "python-3-12-c09f03d5"}
""")


SANDBOX = """
with Sandbox.create(image=IMAGE, idle_timeout="10m") as box:
    result = box.run("echo out; echo err >&2; exit 3", check=False)
    assert (result.stdout, result.stderr, result.exit_code) == ("out\\n", "err\\n", 3)
    pieces = []
    def on_stdout(text):
        pieces.append(text)
        if "".join(pieces) == "first\\n":
            box.files.write("/tmp/go", "")
    box.run("echo first; until [ -e /tmp/go ]; do sleep 0.02; done; echo second", on_stdout=on_stdout, timeout=30)
    assert "".join(pieces) == "first\\nsecond\\n", pieces
    data = os.urandom(5_000_000)
    box.files.write("/tmp/data", data)
    assert box.files.read("/tmp/data") == data and box.files.stat("/tmp/data").size == len(data)
    open("local", "wb").write(data)
    box.files.upload("local", "/tmp/a/b/up")
    box.files.download("/tmp/a/b/up", "back")
    assert open("back", "rb").read() == data
    assert [e.name for e in box.files.list("/tmp/a")] == ["b"]
    process = box.run(["sleep", "1000"], background=True)
    assert [p.running for p in box.processes() if p.id == process.id] == [True]
    assert process.kill() is True

    server = box.run("cd /tmp/a/b && exec python3 -m http.server 8000", background=True)
    url = box.proxy_url_for(8000, "/up", scheme=SCHEME)
    import httpx2
    deadline = time.time() + 30
    while True:
        reply = httpx2.get(url, headers=box.proxy_headers)
        if reply.status_code == 200 or time.time() > deadline:
            break
        time.sleep(0.05)
    assert reply.content == data, reply
    assert httpx2.get(url).status_code == 401

    again = Sandbox.connect(box.id)
    assert again.files.read("/tmp/data") == data
    again.close()
    print(box.id, flush=True)
    if len(sys.argv) > 1:
        sys.stdin.readline()
assert inspect_job(job_id=box.id).status.stage == "CANCELED"
"""


def sandbox_script(hub, image, script=SANDBOX):
    return f"os.chdir(os.environ['HF_HOME'])\nIMAGE = {image!r}\nSCHEME = {'https://' if hub.tls else 'http://'!r}\n" + script


def run_sandbox(hub, image, script=SANDBOX, **env):
    return client(hub, sandbox_script(hub, image, script), **env)


@pytest.mark.parametrize("image", ["local/unverified", "local/unverified-no-fetch", "hf.co/spaces/alice/unverified"])
def test_a_sandbox(hub, image):
    """The program is fetched by wget or curl, or read from the mounted bucket."""
    job_id = run_sandbox(hub, image).split()[-1]
    job = hub.jobs[job_id]
    wait_until(lambda: job.container is None, what="its end")
    fetched = hub.requests.of("resolve", job=job_id)
    assert len(fetched) == (0 if "no-fetch" in image else 1) and not any(r.header("authorization") for r in fetched)
    assert job.labels["hf-sandbox"] == "1" and job.labels["hf-sandbox-mode"] == "dedicated" and len(job.labels["hf-sandbox-nonce"]) == 32
    seen = hub.requests.of("proxy", job=job_id)
    assert seen and all(r.header("x-sandbox-token") for r in seen if "/v1/" in r.path and r.status != 401)


def test_by_env_of_the_sandbox():
    """The other documented place of the same switch; the image's name is the client's own default."""
    from localhub import Image
    from localhub.images import DIGESTS
    with Hub(images={"python:3.12": Image(lacks=DIGESTS)}) as hub:
        client(hub, """
with Sandbox.create(env={"SBX_ALLOW_UNVERIFIED_SERVER": "1"}) as box:
    assert box.run("echo hi").stdout == "hi\\n"
""")


def test_the_client_still_checks_the_digest(hub):
    """In an image that can compute it, our program is refused: nothing about the client or its check has been changed."""
    text = run_sandbox(hub, "python:3.12", """
try:
    Sandbox.create(image=IMAGE)
except SandboxError as error:
    print(error)
""")
    assert "digest mismatch" in text and "terminated during startup" in text
    assert not hub.jobs.running()


def test_from_another_process(hub):
    """Made by one process, used by a second, ended by a third; not opened by another token of the same user."""
    run_sandbox(hub, "local/unverified", "box = Sandbox.create(image=IMAGE); box.files.write('/tmp/x', 'hi'); box.close(); print(box.id)")
    job_id = hub.jobs.last().id
    assert client(hub, f"print(Sandbox.connect('{job_id}').files.read_text('/tmp/x'))") == "hi\n"
    assert client(hub, f"print(Sandbox.connect('alice/{job_id}').run('cat /tmp/x').stdout)").strip() == "hi"
    refused = f"""
try:
    Sandbox.connect('alice/{job_id}').run('true')
    print("opened")
except (SandboxError, HfHubHTTPError) as error:
    print(error)
"""
    assert "403" in client(hub, refused, token=Accounts.ALICE_OTHER)
    assert "403" in client(hub, refused, token=Accounts.MALLORY)
    assert "401" in client(hub, refused, token=Accounts.UNKNOWN)
    assert hub.jobs[job_id].stage == "RUNNING"
    client(hub, f"Sandbox.kill('{job_id}')")
    assert hub.jobs[job_id].stage == "CANCELED"
    wait_until(lambda: not hub.jobs[job_id].processes(), what="the end of its processes")


def test_a_job_that_dies_before_the_program_answers(hub):
    hub.next_jobs(1, fail_at="boot", boot_delay=0.2, fail_message="Some reason")
    text = run_sandbox(hub, "local/unverified", """
try:
    Sandbox.create(image=IMAGE)
except SandboxError as error:
    print(error)
""")
    assert "status: ERROR" in text and "Some reason" in text


def test_the_client_leaves_nothing_when_nothing_is_exposed(hub):
    """PROTOCOL 3, Job object: exposeUrls must be in the reply; its absence makes the client cancel."""
    hub.next_jobs(1, expose_urls=False)
    text = run_sandbox(hub, "local/unverified", """
try:
    Sandbox.create(image=IMAGE)
except SandboxError as error:
    print(error)
""")
    assert "does not expose" in text and hub.jobs.last().stage == "CANCELED"


def test_an_organisation(hub):
    client(hub, """
job = run_job(image="python:3.12", command=["true"], namespace="acme")
assert job.owner.type == "org" and job.initiator.name == "alice"
assert wait_for_job(job.id, namespace="acme", poll_interval=0.05).status.stage == "COMPLETED"
""")
    assert "403" in client(hub, """
try:
    run_job(image="python:3.12", command=["true"], namespace="acme")
except HfHubHTTPError as error:
    print(error)
""", token=Accounts.BOB)


def test_telemetry(hub):
    before = len(hub.requests.of("telemetry"))
    client(hub, """
from huggingface_hub.utils import send_telemetry
send_telemetry("some topic/create", library_name="x", library_version="1")
import huggingface_hub.utils._telemetry as t
t._TELEMETRY_QUEUE.join()
""")
    [request] = hub.requests.of("telemetry")[before:]
    assert request.path == "/api/telemetry/some%20topic/create" and request.header("authorization") is None


def test_silence_is_seen(hub):
    before, connections = len(hub.requests), hub.requests.connections
    client(hub, """
from huggingface_hub.utils import send_telemetry
send_telemetry("x", library_name="x", library_version="1")
""", HF_HUB_DISABLE_TELEMETRY="1")
    assert len(hub.requests) == before and hub.requests.connections == connections
