"""Jobs as a container would run them: what they see, what they may, how they end, and what the API says about it."""
# ctest: timeout=600
import json
import time

import pytest
from agent import wait_until
from localhub import Hub
from localhub.ask import ask, ask_port, connection, request_of, run
from localhub.jobs import Job


def ended(job, timeout=30):
    wait_until(lambda: not job.running and job.container is None, timeout, f"the end of the job ({job.stage}, {job.logs[-5:]})")
    return job


def output(hub, command, **more):
    job = ended(run(hub, command, **more))
    assert job.stage == "COMPLETED", (job.stage, job.message, job.logs)
    return "\n".join(job.logs[1:])


def test_a_container_s_conditions(hub):
    text = output(hub, "id -u; cat /proc/self/uid_map; grep -E 'CapEff|Seccomp:' /proc/self/status; cat /proc/net/dev; echo pid $$; hostname")
    assert text.startswith("0\n") and "65536" in text and "pid 1" in text.replace("\n", " ")
    assert "CapEff:\t00000000a80425fb" in text and "Seccomp:\t2" in text
    devices = [line.split(":")[0].strip() for line in text.splitlines() if ":" in line and "bytes" not in line and "Cap" not in line]
    assert "lo" in devices and not [d for d in devices if d.startswith(("eth", "en"))]


@pytest.mark.parametrize("command", ["unshare -U true", "unshare -n true", "unshare -m true", "mount -t tmpfs x /mnt", "umount /proc",
                                     "mount --bind /tmp /mnt", "nsenter -t 1 -m true", "touch /usr/x", "hostname other",
                                     "echo 1 > /proc/sys/kernel/panic"])
def test_what_it_may_not(hub, command):
    job = ended(run(hub, command))
    assert job.stage == "ERROR" and job.exit_code != 0, job.logs


def test_clone_makes_no_namespaces(hub):
    """By the call itself: with every flag, and in its newer form."""
    script = """
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
found = set()
for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
    result = libc.syscall(clone, flag | 17, 0, 0, 0, 0)
    found.add(errno.errorcode[ctypes.get_errno()] if result < 0 else "made")
found.add(errno.errorcode[ctypes.get_errno()] if libc.syscall(435, 0, 0) < 0 else "made")
print(*sorted(found))
"""
    assert output(hub, ["python3", "-c", script]) == "ENOSYS EPERM"


def test_what_it_may_not_is_the_filter_s_work(hub, monkeypatch):
    """Positive control: with its capabilities and without the filter the same calls succeed."""
    fields = Job._fields
    monkeypatch.setattr(Job, "_fields", lambda self, image: fields(self, image) + [("privileged",)])
    assert output(hub, "unshare -m true && unshare -n true && mount -t tmpfs x /mnt && echo all") == "all"


def test_what_it_may(hub):
    assert output(hub, "chown 1000:1000 /tmp && chmod 1777 /tmp; python3 -c 'import threading; t = threading.Thread(target=print, args=(5,)); "
                       "t.start(); t.join()'; echo x > /var/tmp/y; ln -s a /root/b; echo $(cat /var/tmp/y)") == "5\nx"
    assert output(hub, "python3 -c 'import socket; s = socket.create_server((\"\", 80)); print(s.getsockname()[1])'") == "80"


def test_environment(hub):
    job = ended(run(hub, "env | sort", environment={"A": 1, "B": "two words", "C": True, "D": None, "E": 1.5}, secrets={"S": "hidden", "T": 7}))
    lines = job.logs
    for line in ("A=1", "B=two words", "C=true", "D=null", "E=1.5", "S=hidden", "T=7", f"JOB_ID={job.id}", "CPU_CORES=2", "MEMORY=16Gi"):
        assert line in lines, (line, lines)
    shown = ask(hub, "GET", f"/api/jobs/alice/{job.id}").json
    assert shown["secrets"] == {"S": "", "T": ""} and shown["environment"]["A"] == "1" and "hidden" not in json.dumps(shown)
    assert "hidden" not in ask(hub, "GET", "/api/jobs/alice").body.decode()


def test_output_is_both_streams_in_order(hub):
    assert output(hub, "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no end'") == \
        "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nno end"


@pytest.mark.parametrize("command, stage, message", [("true", "COMPLETED", None), ("exit 7", "ERROR", "exit code: 7"), ("kill -9 $$ ; sleep 9 & "
                         "kill -9 -1; exit 5", "ERROR", "exit code: 5"), (["/no/such/program"], "ERROR", "No such file")])
def test_ends(hub, command, stage, message):
    job = ended(run(hub, command))
    assert job.stage == stage and (message is None) == (job.message is None) and (message or "") in (job.message or "")
    shown = ask(hub, "GET", f"/api/jobs/alice/{job.id}").json
    assert shown["status"]["stage"] == stage and shown["finishedAt"] and shown["durations"]["totalSecs"] >= 0


def test_a_string_of_the_environment_has_the_kernel_s_limit(hub):
    """DESIGN 2: one environment string holds 131,071 bytes."""
    assert output(hub, "echo ${#PAYLOAD}", secrets={"PAYLOAD": "x" * (131071 - len("PAYLOAD="))}) == str(131071 - 8)
    job = ended(run(hub, "true", secrets={"PAYLOAD": "x" * (131072 - len("PAYLOAD="))}))
    assert job.stage == "ERROR" and "Argument list too long" in job.message


def test_timeout(hub):
    job = run(hub, "trap '' TERM; sleep 300 & wait; sleep 300", timeoutSeconds=1)
    wait_until(lambda: job.processes(), what="its processes")
    ended(job)
    assert job.stage == "ERROR" and "timeout" in job.message.lower() and 0.9 < job.finished - job.started < 10


def test_cancel_is_a_term_first(hub):
    job = run(hub, "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    wait_until(lambda: "ready" in job.logs, what="the start")
    assert ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel").status == 200
    assert ask(hub, "GET", f"/api/jobs/alice/{job.id}").json["status"]["stage"] == "CANCELED"
    ended(job)
    assert "got it" in job.logs and job.stage == "CANCELED"
    assert ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel").status == 200  # once more changes nothing


def test_cancel_before_it_runs(hub):
    hub.next_jobs(1, scheduling_delay=float("inf"))
    job = run(hub, "echo never")
    assert job.stage == "SCHEDULING"
    ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
    assert ended(job).stage == "CANCELED" and not job.logs and job.started is None


SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["JOB_ID"].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


def test_many_listen_on_one_port(hub):
    jobs = [run(hub, ["python3", "-c", SERVER], expose=[8000]) for _ in range(4)]
    for job in jobs:
        reply = wait_until(lambda job=job: (r := ask_port(hub, job, 8000, "GET", "/")).status == 200 and r, what="its port")
        assert reply.body.decode() == job.id
    for job in jobs:
        ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
    for job in jobs:
        ended(job)


@pytest.mark.parametrize("image, missing, there", [
    ("local/no-base64", "base64 gzip", "python3 openssl"), ("local/python-only", "ls cat wget curl", "python3 sh"),
    ("local/no-decoder", "base64 python3 perl openssl", "cat ls"), ("local/no-fetch", "wget curl", "base64"),
    ("local/openssl-only", "base64 gzip python3 perl", "openssl"), ("local/perl-only", "base64 gzip python3 openssl", "perl"),
    ("local/unverified", "sha256sum openssl", "wget")])
def test_images_lack_what_they_say(hub, image, missing, there):
    lines = output(hub, f"for p in {missing} {there}; do command -v $p; done; :", image=image).splitlines()
    assert {line.rsplit("/", 1)[-1] for line in lines} == set(there.split())


def test_other_images(hub):
    script = "cp /bin/true /tmp/x && chmod 755 /tmp/x && /tmp/x"
    assert ended(run(hub, script, image="local/noexec-tmp")).exit_code == 126
    assert ended(run(hub, script)).exit_code == 0
    job = ended(run(hub, "true", image="no/such:image"))
    assert job.stage == "ERROR" and "no/such:image" in job.message and job.started is None
    body = request_of("echo in a space")
    body["spaceId"] = body.pop("dockerImage") and "alice/tool"
    reply = ask(hub, "POST", "/api/jobs/alice", body)
    assert reply.json["spaceId"] == "alice/tool" and ended(hub.jobs[reply.json["id"]]).logs[1:] == ["in a space"]


def test_volumes(hub):
    (hub.storage.path("model", "alice/model") / "weights").write_text("w")
    volumes = [{"type": "bucket", "source": "alice/data", "mountPath": "/data"}, {"type": "model", "source": "alice/model", "mountPath": "/m"},
               {"type": "bucket", "source": "alice/data", "mountPath": "/ro", "readOnly": True}]
    text = output(hub, "cat /m/weights; echo hi > /data/file; touch /m/x 2>&1; touch /ro/y 2>&1; cat /ro/file", volumes=volumes)
    assert text.startswith("w") and text.endswith("hi") and text.count("Read-only file system") == 2
    assert (hub.storage.path("bucket", "alice/data") / "file").read_text() == "hi\n"


def events(body):
    return [json.loads(line[6:])["data"] for line in body.decode().split("\n") if line.startswith("data: {")]


def test_log_stream(hub):
    job = ended(run(hub, "seq 1 500"))
    path = f"/api/jobs/alice/{job.id}/logs"
    start = time.monotonic()
    reply = ask(hub, "GET", path)
    assert time.monotonic() - start < 4 and reply.headers["content-type"] == "text/event-stream"
    lines = events(reply.body)
    assert lines[0].startswith("===== Job started") and lines[1:] == [str(n) for n in range(1, 501)]
    assert events(ask(hub, "GET", path + "?tail=3").body) == ["498", "499", "500"]


def test_log_stream_follows():
    with Hub(keep_alive=0.2) as hub:
        job = run(hub, "echo one; until [ -e /go/go ]; do sleep 0.02; done; echo two",
                  volumes=[{"type": "bucket", "source": "alice/go", "mountPath": "/go"}])
        wait_until(lambda: "one" in job.logs, what="the first line")
        link, _ = connection(hub, hub.endpoint)
        link.request("GET", f"/api/jobs/alice/{job.id}/logs", headers={"Authorization": f"Bearer {hub.token}"})
        stream = link.getresponse()
        seen = b""
        while b'"one"' not in seen or b": keep-alive" not in seen:
            seen += stream.read1()
        assert b'"two"' not in seen
        (hub.storage.path("bucket", "alice/go") / "go").touch()
        seen += stream.read()
        assert events(seen)[1:] == ["one", "two"]
        link.close()


def test_metrics(hub):
    hub.next_jobs(1, metrics_period=0.1)
    job = run(hub, "sleep 300")
    wait_until(lambda: job.stage == "RUNNING", what="its start")
    link, _ = connection(hub, hub.endpoint)
    link.request("GET", f"/api/jobs/alice/{job.id}/metrics", headers={"Authorization": f"Bearer {hub.token}"})
    stream = link.getresponse()
    seen = b""
    while seen.count(b"event: metric\ndata: {") < 2:
        seen += stream.read1()
    sample = json.loads(seen.split(b"data: ")[1].split(b"\n")[0])
    assert sample["memory_used_bytes"] > 0 and sample["memory_total_bytes"] == 16 << 30 and sample["gpus"] == {}
    ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
    stream.read()
    link.close()
    assert ask(hub, "GET", f"/api/jobs/alice/{ended(job).id}/metrics").status == 500


def test_list_filters_and_pages():
    with Hub(page_size=3) as hub:
        jobs = [ended(run(hub, "exit " + str(n % 2), labels={"name": "n", "group": str(n % 3)})) for n in range(7)]
        other = ended(run(hub, "true", namespace="acme"))

        def listed(query):
            found, path = [], f"/api/jobs/alice?{query}"
            while path:
                reply = ask(hub, "GET", path)
                assert len(reply.json) <= 3
                found += [entry["id"] for entry in reply.json]
                link = reply.headers.get("Link")
                path = link and link.split(">")[0].removeprefix(f"<{hub.endpoint}")
            return found

        assert listed("") == [job.id for job in jobs][::-1] and other.id not in listed("")
        assert listed("stage=ERROR") == [job.id for job in jobs if job.stage == "ERROR"][::-1]
        assert listed("stage=ERROR&stage=COMPLETED&label=group%3D1") == [jobs[4].id, jobs[1].id]
        assert listed("label=group%3D1&label=name%3Dx") == []
        reply = ask(hub, "PUT", f"/api/jobs/alice/{jobs[0].id}/labels", {"labels": {"group": "new"}})
        assert reply.json["labels"] == {"group": "new"} and listed("label=group%3Dnew") == [jobs[0].id]


def test_job_object(hub):
    hub.next_jobs(1, scheduling_delay=float("inf"))
    body = request_of("true", expose=[49983, 8000], timeoutSeconds=60, labels={"name": "x", "hf-sandbox": "1"})
    shown = ask(hub, "POST", "/api/jobs/alice", body).json
    assert shown["status"]["stage"] == "SCHEDULING" and len(shown["id"]) == 24 and int(shown["id"], 16)
    assert [f"{shown['id']}--{port}." in url for port, url in zip((49983, 8000), shown["status"]["exposeUrls"])] == [True, True]
    assert shown["owner"]["name"] == shown["initiator"]["name"] == "alice" and shown["command"] == body["command"]
    assert shown["durations"] == {"schedulingSecs": None, "runningSecs": None, "totalSecs": 0}
    ask(hub, "POST", f"/api/jobs/alice/{shown['id']}/cancel")
