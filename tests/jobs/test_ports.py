"""Servers inside a sandbox, reached from outside: at an exposed port directly, at any other through the agent. And images that are Spaces."""
# ctest: timeout=300
import pytest

SERVE = """
import urllib.error, urllib.request
def ask(url, headers={}):
    class Straight(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_): return None
    opener = urllib.request.build_opener(Straight, urllib.request.ProxyHandler({}))
    try:
        reply = opener.open(urllib.request.Request(url, headers=headers), timeout=20)
    except urllib.error.HTTPError as error:
        reply = error
    return reply.status, reply.read()
SERVER = '''
import http.server, json, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": list(self.headers.keys()), "values": list(self.headers.values())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.HTTPServer(("", int(sys.argv[1])), Echo)
print("listens", flush=True)
server.serve_forever()
'''
client = sbx.Client()
box = client.create(ports=[8000])
box.write("/tmp/server.py", SERVER.encode())
for port in (8000, 8001):
    assert box.start(["python3", "/tmp/server.py", str(port)], background=1).next()[1] == b"listens\\n"
"""


def test_ports(either_hub):
    hub = either_hub
    hub.program.run(SERVE + """
token = os.environ["HF_TOKEN"]
exposed, other = box.port_url(8000), box.port_url(8001)
assert f"{box.id}--8000." in exposed and other.endswith("/v1/proxy/8001") and f"{box.id}--49983." in other, (exposed, other)
assert box.port_headers(8000) == {"Authorization": "Bearer " + token}
assert set(box.port_headers(8001)) == {"Authorization", "X-Sandbox-Token"}
key = box.port_headers(8001)["X-Sandbox-Token"]
for url, port in ((exposed, 8000), (other, 8001)):
    status, body = ask(url + "/a/b?c=d", box.port_headers(port))
    assert status == 200, (port, status, body)
    seen = json.loads(body)
    assert seen["path"] == "/a/b?c=d"
    assert not {"authorization", "x-sandbox-token"} & {name.lower() for name in seen["headers"]}, seen
    assert token not in str(seen["values"]) and key not in str(seen["values"])
    assert ask(url + "/")[0] == 401
assert ask(other + "/", box.port_headers(8000))[0] == 403          # without the sandbox's own token
assert ask(box.port_url(8002), box.port_headers(8002))[0] == 502   # where nothing listens
again = client.connect(box.id)
assert ask(again.port_url(8001) + "/x", again.port_headers(8001))[0] == 200
print(box.id)
box.kill()
""")
    job = hub.jobs.last()
    direct = [r for r in hub.requests.of("proxy", job=job.id) if r.port == 8000]
    assert direct and not any(r.header("x-sandbox-token") for r in direct)


PORT_ERRORS = """
for call in (box.port_url, box.port_headers):
    for port, name in %r.items():
        try:
            call(port)
            raise AssertionError(f"{call} gave something for {port}")
        except sbx.Error as error:
            assert error.name == "ERROR_" + name and "sbx_sandbox_port_" in error.message, error
"""


def test_what_is_no_port(hub):
    hub.program.run("box = sbx.Client().create()" + PORT_ERRORS % {0: "INVALID"})
    hub.program.run("client = sbx.Client(provider='local'); box = client.create()" + PORT_ERRORS % {0: "INVALID", 8000: "UNSUPPORTED"})


@pytest.mark.parametrize("image", ["hf.co/spaces/alice/tool", "https://huggingface.co/spaces/alice/tool"])
def test_an_image_that_is_a_space(hub, image):
    hub.program.run("""
client = sbx.Client()
box = client.create(image=sys.argv[1])
assert box.run("echo in a space").out == b"in a space\\n"
assert box.info()["image"] in (sys.argv[1], "hf.co/spaces/alice/tool")
assert [row["image"] for row in client.list()] == ["hf.co/spaces/alice/tool"]
assert client.connect(box.id).info()["image"] == "hf.co/spaces/alice/tool"
""", image)
    request = hub.jobs.last().request
    assert request["spaceId"] == "alice/tool" and "dockerImage" not in request and request["labels"]["name"].startswith("alice-tool-")


def test_a_space_that_is_none(hub):
    assert "alice/none" in hub.program.run("""
try:
    sbx.Client().create(image="hf.co/spaces/alice/none")
except sbx.Error as error:
    assert error.code == sbx.AGENT, error
    print(error.message)
""")
    assert not hub.jobs.running()
