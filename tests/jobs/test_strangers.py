"""Other people in the same organization: what they put into labels opens nothing."""
# ctest: timeout=120
import pytest
from agent import wait_until
from localhub.accounts import Accounts
from localhub.ask import ask

# Answers as an agent of ours would, and says which tokens came.
LISTENER = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("CAME", self.path, self.headers.get("X-Sandbox-Token"), flush=True)
        body = json.dumps({"status": "ok", "protocol": 3, "features": ["keys", "frames", "process", "files"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", 49983), Handler)
print("listening", flush=True)
server.serve_forever()
"""


def strangers_job(hub, **labels):
    """Bob may write in Alice's organization. He has read the nonce of one of her sandboxes in its labels."""
    hub.accounts.accounts["acme"].members["bob"] = "write"
    hub.program.run("sbx.Client().create(hub_namespace='acme', client_key='mine', detached=1)")
    victim = hub.jobs.last()
    made = ask(hub, "POST", "/api/jobs/acme", {
        "command": ["python3", "-c", LISTENER], "arguments": [], "environment": {}, "flavor": "cpu-basic", "dockerImage": "python:3.12",
        "expose": {"ports": [49983]},
        "labels": {"hf-sandbox": "1", "hf-sandbox-mode": "dedicated", "hf-sandbox-nonce": victim.labels["hf-sandbox-nonce"], **labels}},
        token=Accounts.BOB)
    assert made.status == 200, made
    job = hub.jobs[made.json["id"]]
    wait_until(lambda: "listening" in str(job.logs), what="the stranger's server")
    return job


@pytest.mark.parametrize("off", [None, "initiator"])
def test_a_key_leads_to_no_stranger(hub, off):
    job = strangers_job(hub, **{"hf-sandbox-key": "other"})
    out = hub.program.run("print(sbx.Client().create(hub_namespace='acme', client_key='other', detached=1).id)", off=off)
    assert (job.id in out) == bool(off) and ("CAME" in str(job.logs)) == bool(off)


@pytest.mark.parametrize("off", [None, "initiator"])
def test_connecting_to_a_stranger(hub, off):
    job = strangers_job(hub)
    out = hub.program.run("""
try:
    sbx.Client().connect("acme/" + sys.argv[1])
    print("connected")
except sbx.Error as error:
    print(error.name, error.message)
""", job.id, off=off)
    if off:
        assert "connected" in out and "CAME" in str(job.logs)
    else:
        assert "ERROR_DENIED" in out and "'bob'" in out and "CAME" not in str(job.logs)
