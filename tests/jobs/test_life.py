"""A sandbox in a job, from its creation to its end, on the local Hub."""
# ctest: timeout=300
import json

import pytest
from agent import wait_until

USE = """
with sbx.Client() as client, client.create() as box:
    assert box.run("cat; echo error >&2; exit 3", input=b"hello").__dict__.items() >= {"code": 3, "out": b"hello", "err": b"error\\n"}.items()
    box.write("/tmp/a", b"\\0bytes\\xff" * 100000)
    assert box.read("/tmp/a") == b"\\0bytes\\xff" * 100000
    row, = client.list()
    assert row["id"] == box.id and row["running"] and not row["detached"] and row["stage"] == "RUNNING", row
    assert row["image"] == "python:3.12" and row["flavor"] == "cpu-basic" and row["cost_micro_usd"] >= 0, row
    print(box.id)
    box.kill()
    try:
        box.run("true")
    except sbx.Error as error:
        assert error.code == sbx.AGENT, error
"""


def test_use(either_hub):
    hub = either_hub
    job_id = hub.program.run(USE).strip()
    assert hub.jobs[job_id].stage == "CANCELED" and not hub.jobs.running()
    assert len(hub.requests.of("create")) == 1


def test_connect_from_elsewhere(either_hub):
    hub = either_hub
    job_id = hub.program.run("print(sbx.Client().create(detached=1).id)").strip()
    assert [job.id for job in hub.jobs.running()] == [job_id]
    hub.program.run("box = sbx.Client().connect(sys.argv[1]); assert box.run('echo there').out == b'there\\n'", job_id)
    hub.program.run("box = sbx.Client().connect('alice/' + sys.argv[1]); assert box.run('echo there').out == b'there\\n'", job_id)
    assert len(hub.jobs.running()) == 1
    hub.program.run("sbx.Client().kill(sys.argv[1])", job_id)
    assert not hub.jobs.running()


def test_request(hub):
    """What is asked for is what the Hub gets; secrets are not in its answers."""
    hub.program.run("""
client = sbx.Client()
box = client.create(image="debian:12", flavor="cpu-upgrade", env=["A=1", "A=2"], secrets=["S=geheim"], labels=["team=red", "name=mine"],
                    lifetime_ms=3600000, idle_timeout_ms=61000, ports=[8000], volumes=["hf://buckets/alice/data:/data"])
assert box.run("echo $A $S; ls -d /data").out == b"2 geheim\\n/data\\n"
print(json.dumps(box.info()))
""")
    job = hub.jobs.last()
    request = job.request
    assert request["dockerImage"] == "debian:12" and request["flavor"] == "cpu-upgrade" and request["timeoutSeconds"] == 3600
    given = {name: value for name, value in request["environment"].items() if not name.startswith("HFSANDBOX_AGENT_")}
    assert given == {"A": "2", "SBX_PORT": "49983", "SBX_IDLE_TIMEOUT": "61"}
    assert set(request["secrets"]) == {"S", "SBX_TOKEN", "HFSANDBOX_AGENT_PAYLOAD"} and request["secrets"]["S"] == "geheim"
    assert request["expose"] == {"ports": [49983, 8000]} and request["arguments"] == []
    labels = request["labels"]
    assert labels["hf-sandbox"] == "1" and labels["hf-sandbox-mode"] == "dedicated" and labels["team"] == "red" and labels["name"] == "mine"
    assert len(labels["hf-sandbox-nonce"]) == 32
    assert request["volumes"] == [{"type": "bucket", "source": "alice/data", "mountPath": "/data"}]


def test_hub_answers_late_or_not(hub):
    """A passing fault is overcome where that is harmless; without that it fails the call."""
    hub.fault("inspect", status=502, count=2)
    hub.fault("whoami", status=503, count=1)
    hub.program.run("sbx.Client().create().close()")
    hub.fault("whoami", status=503, count=1)
    out = hub.program.run("""
try:
    sbx.Client().create()
except sbx.Error as error:
    print(error.message)
""", off="hub-retry")
    assert "503" in out
    assert not hub.jobs.running()


@pytest.mark.parametrize("off", [None, "job-end"])
def test_deadline_leaves_no_job(hub, off):
    hub.dials.set(scheduling_delay=1000)
    hub.program.run("""
client = sbx.Client()
try:
    client.create(timeout_ms=700)
except sbx.Error as error:
    assert error.code == sbx.TIMEOUT, error
""", off=off)
    assert len(hub.jobs.running()) == (1 if off else 0)


@pytest.mark.parametrize("off", [None, "jobs-at-exit"])
def test_exit_leaves_no_job(hub, off):
    """The program ends without having given anything back."""
    hub.program.run("""
import ctypes
client = sbx.Client()
box = client.create()
sys.stdout.flush()
ctypes.CDLL(None).exit(0)
""", off=off)
    if off:
        assert len(hub.jobs.running()) == 1
    else:
        wait_until(lambda: not hub.jobs.running(), what="the end of the job")


def test_hardware_and_info(hub):
    out = hub.program.run("client = sbx.Client(); print(json.dumps([client.info(), client.hardware()]))")
    info, hardware = json.loads(out)
    assert info["user"] == "alice" and info["namespace"] == "alice" and info["token_source"] == "HF_TOKEN" and info["endpoint"] == hub.endpoint
    assert hub.token not in out
    basic = next(row for row in hardware if row["flavor"] == "cpu-basic")
    assert basic["micro_usd_per_minute"] > 0 and basic["accelerator"] is None and basic["cpu"], basic
    assert any(row["accelerator"] for row in hardware)


@pytest.mark.parametrize("image", ["local/no-decoder", "local/no-fetch-no-decoder"])
def test_an_image_without_decoders(hub, image):
    """The Hub's own agent takes the place of ours: it is downloaded, or mounted."""
    hub.program.run(f"box = sbx.Client().create(image={image!r}); assert box.run('echo hi').out == b'hi\\n'")
    assert [job.stage for job in hub.jobs] == ["ERROR", "CANCELED"] and len(hub.requests.of("create")) == 2


def test_a_refused_size(hub):
    for dial in ("max_request", "max_secret"):
        hub.dials.set(max_request=None, max_secret=None)
        hub.dials.set(**{dial: 50000})
        hub.program.run("box = sbx.Client().create(); assert box.run('echo hi').out == b'hi\\n'")
    assert len(hub.requests.of("create")) == 4 and not hub.jobs.running()
