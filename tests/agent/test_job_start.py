"""The start of a job, in images that have hardly anything: a root with one shell and the tools that a test names."""
# ctest: timeout=300
import base64
import gzip
import os
import re
import shutil
import subprocess

import payload
import pytest
from agent import TOKEN, Agent

SHELLS = ["dash", "busybox", "bash"]
PLACES = ["tmp", "dev/shm", "var/tmp", "run"]
USUAL = ("base64", "gzip", "sha256sum", "chmod", "rm", "uname")
ADDED = {"PWD", "OLDPWD", "SHLVL", "_"}  # by shells, whatever they run


class Image:
    """A root for bwrap: /bin holds the tools and nothing else; the script runs as pid 1, as in a container."""

    def __init__(self, path, shell="dash", tools=USUAL, noexec=(), readonly=()):
        self.root = path
        (path / "bin").mkdir(parents=True)
        self.options = ["--unshare-pid", "--as-pid-1", "--die-with-parent", "--bind", str(path), "/"]
        for system in ("lib", "lib64", "share"):
            if os.path.isdir(f"/usr/{system}"):
                (path / "usr" / system).mkdir(parents=True)
                os.symlink(f"usr/{system}", path / system)
                self.options += ["--ro-bind", f"/usr/{system}", f"/usr/{system}"]
        for place in ("home", "work"):
            (path / place).mkdir()
        self.options += ["--proc", "/proc", "--dev", "/dev", "--dir", "/dev/shm"]
        for name, source in [("sh", shell), *((tool, tool) for tool in tools)]:
            (path / "bin" / name).touch()
            source = "/usr/bin/python3" if source == "python3" else shutil.which(source)
            self.options += ["--ro-bind", source, f"/bin/{name}"]
        self.noexec = path.parent / "noexec"
        self.noexec.mkdir()
        for place in PLACES:
            (path / place).mkdir(parents=True, exist_ok=True)
            if place in noexec:
                self.options += ["--bind", str(self.noexec), f"/{place}"]
            elif place in readonly:
                self.options += ["--ro-bind", str(path / place), f"/{place}"]
        self.options += ["--chdir", "/"]
        if readonly or noexec:
            self.options += ["--remount-ro", "/"]
            for place in PLACES:
                if place not in (*noexec, *readonly):
                    self.options += ["--tmpfs", f"/{place}"]

    def wrap(self):
        mount = f'mount -t tmpfs -o noexec none {self.noexec} && exec "$@"'
        return [shutil.which("unshare"), *([] if os.geteuid() == 0 else ["-r"]), "-m", "/bin/sh", "-c", mount, "sh", shutil.which("bwrap"),
                *self.options]

    def agent(self, script=None, env=None, **more):
        return Agent(static="/bin/sh", args=["-c", script or payload.script()], wrap=self.wrap(), clean_exit=False,
                     env={**payload.environment(), "PATH": "/bin", "HOME": "/nowhere", **(env or {})}, **more)

    def fails(self, env=None, script=None):
        """Exit code and the one line that says why."""
        env = {**payload.environment(), "PATH": "/bin", "HOME": "/nowhere", "SBX_TOKEN": TOKEN, **(env or {})}
        got = subprocess.run(self.wrap() + ["/bin/sh", "-c", script or payload.script()], capture_output=True, text=True, timeout=60,
                             env={key: value for key, value in env.items() if value is not None})
        assert re.fullmatch(r"hfsandbox: [^\n]+\n", got.stderr), got
        return got.returncode, got.stderr


def served(image, **more):
    with image.agent(**more) as a:
        assert a.run("echo started").stdout == b"started\n"
        assert not list((image.root / "tmp").iterdir()), "the agent's file stays"
        a.post("/v1/shutdown")
        assert a.wait_exit() == 0
    return a.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell(shell, tmp_path):
    assert served(Image(tmp_path / "root", shell)) == ""


DECODERS = [("base64", "gzip"), ("openssl", "gzip"), ("python3",), ("perl",), ("perl", "gzip"), ("openssl", "python3"), ("base64", "perl")]


@pytest.mark.parametrize("shell", ["dash", "busybox"])
@pytest.mark.parametrize("tools", DECODERS, ids="+".join)
def test_every_decoder(shell, tools, tmp_path):
    """Each makes the digest too, where it can."""
    check = () if set(tools) & {"openssl", "python3", "perl"} else ("sha256sum",)
    assert served(Image(tmp_path / "root", shell, (*tools, *check, "chmod", "rm"))) == ""


def test_busybox_alone(tmp_path):
    image = Image(tmp_path / "root", "busybox", ())
    for tool in ("base64", "gunzip", "sha256sum", "chmod", "rm", "uname"):
        os.symlink("sh", image.root / "bin" / tool)
    assert served(image) == ""


def test_length_alone(tmp_path):
    image = Image(tmp_path / "root", tools=("base64", "gzip", "chmod", "rm", "wc"))
    assert "only the agent's length is checked" in served(image)
    code, why = image.fails({"HFSANDBOX_AGENT_SIZE": "1"})
    assert code == 82


@pytest.mark.parametrize("tools,word", [((), "base64"), (("gzip", "chmod"), "base64"), (("base64", "chmod"), "gunzip"), (("base64", "gzip"), "chmod")])
def test_a_tool_is_missing(tools, word, tmp_path):
    code, why = Image(tmp_path / "root", tools=tools).fails()
    assert code == 81 and word in why


@pytest.mark.parametrize("name", ["PAYLOAD", "SHA256", "SIZE", "ARCH"])
def test_incomplete(name, tmp_path):
    image = Image(tmp_path / "root")
    for value in (None, ""):
        code, why = image.fails({f"HFSANDBOX_AGENT_{name}": value})
        assert code == 80 and f"HFSANDBOX_AGENT_{name} " in why


def test_other_machine(tmp_path):
    code, why = Image(tmp_path / "root").fails({"HFSANDBOX_AGENT_ARCH": "sparc"})
    assert code == 84 and "sparc" in why and payload.arch() in why


def encoded(program):
    return base64.b64encode(gzip.compress(program)).decode()


@pytest.mark.parametrize("damage", ["letter", "end", "program"])
def test_damaged(damage, tmp_path):
    text = payload.text()
    other = bytearray(payload.PROGRAM.read_bytes())
    other[-1] ^= 1
    text = {"letter": text[:5000] + ("A" if text[5000] != "A" else "B") + text[5001:], "end": text[:-400],
            "program": encoded(bytes(other))}[damage]
    image = Image(tmp_path / "root", tools=(*USUAL, "python3", "perl"))
    code, why = image.fails({"HFSANDBOX_AGENT_PAYLOAD": text})
    assert code == 82 and "damaged" in why and "/tmp" in why
    assert not list((image.root / "tmp").iterdir())
    if damage == "program":  # what keeps it out is the digest
        unchecked = payload.script().replace('[ "${_s_x%% *}" = "$_s_sha" ]', ":")
        assert unchecked != payload.script()
        with image.agent(unchecked, {"HFSANDBOX_AGENT_PAYLOAD": text}) as a:
            assert a.run("echo control").stdout == b"control\n"


# -- places

def home_of(a):
    """The directory that the agent was started from."""
    pid = a.children()[0]
    return os.path.dirname(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))


@pytest.mark.parametrize("count", range(1, 4))
@pytest.mark.parametrize("kind", ["noexec", "readonly"])
def test_next_place(kind, count, tmp_path):
    image = Image(tmp_path / "root", **{kind: PLACES[:count]})
    with image.agent() as a:
        assert a.run("echo there").stdout == b"there\n"
        assert home_of(a) == "/" + PLACES[count]


def test_home_and_here(tmp_path):
    image = Image(tmp_path / "root", noexec=PLACES)
    image.options += ["--tmpfs", "/home"]
    with image.agent(env={"HOME": "/home"}) as a:
        assert home_of(a) == "/home"
    image.options += ["--tmpfs", "/work", "--chdir", "/work"]
    with image.agent() as a:
        assert home_of(a) == "/work" and a.run("pwd").stdout == b"/work\n"


@pytest.mark.parametrize("kind", ["noexec", "readonly"])
def test_no_place(kind, tmp_path):
    code, why = Image(tmp_path / "root", **{kind: PLACES}).fails()
    assert code == 83 and "/dev/shm" in why


def test_what_stands_there_is_left_alone(tmp_path):
    image = Image(tmp_path / "root")
    victim = image.root / "victim"
    victim.write_text("mine")
    os.symlink("/victim", image.root / "tmp/.hfsandbox-agent.1")
    with image.agent() as a:
        assert home_of(a) == "/dev/shm"
    assert victim.read_text() == "mine"


# -- what commands see

@pytest.mark.parametrize("shell", SHELLS)
def test_environment(shell, tmp_path):
    """The payload is neither in the commands' environment nor in the agent's, and the user's variables arrive as they are."""
    image = Image(tmp_path / "root", shell, (*USUAL, "env", "cat"))
    mine = {"f": "1", "d": "x y", "x": "a\nb", "HFSANDBOX_ELSE": "kept", "_s": "kept"}
    for script in (payload.script(), re.sub(r"(?m)^unset .*$", "", payload.script())):
        with image.agent(script, mine) as a:
            seen = dict(item.split("=", 1) for item in a.run(["env", "-0"]).stdout.decode().split("\0")[:-1])
            pid = a.children()[0]
            with open(f"/proc/{pid}/environ", "rb") as f:
                assert f.read().strip(b"\0") == b""
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                assert payload.text()[:64].encode() not in f.read()
            umask = int(a.run("umask").stdout, 8)
        if script == payload.script():
            expected = {**a.env, **mine, "SBX_PORT": str(a.port)}
            hidden = {"SBX_TOKEN", *payload.environment()}
            assert {key: seen[key] for key in seen if key not in ADDED} == {key: expected[key] for key in expected if key not in hidden}
            assert umask == os.umask(umask)
        else:
            assert "HFSANDBOX_AGENT_PAYLOAD" in seen  # the control
