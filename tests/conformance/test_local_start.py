"""Starting a local agent: how it is found, what it inherits, and that no failed start leaves anything. The agents here are small scripts that
stand in for a broken, slow or curious one."""
import json
import os
import stat
import textwrap

import pytest
import sbx

CREATE = """
import sbx, sys, os
with sbx.Client(agent_path=sys.argv[1], runtime_dir=sys.argv[2]) as client:
    try:
        client.create(timeout_ms=int(sys.argv[3]), detached=int(sys.argv[4]))
    except sbx.Error as e:
        print(e.name, e.message)
    sbx.wait_until(lambda: not sbx.children(), what="the end of the agent")
    print("records", os.listdir(sys.argv[2]))
"""


@pytest.fixture
def fake(tmp_path):
    """Makes an agent of a shell script; it may write to $OUT."""
    def make(body):
        path = tmp_path / "agent"
        path.write_text(f"#!/bin/sh\nOUT={tmp_path}/out\n" + textwrap.dedent(body))
        path.chmod(0o755)
        return path
    return make


def create(agent, tmp_path, timeout_ms=20000, detached=0, **env):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    done = sbx.script(CREATE, agent, runtime, timeout_ms, detached, env=env)
    *said, records = done.stdout.splitlines()
    assert records == "records []"
    return "\n".join(said)


def test_missing_agent_names_the_path(tmp_path):
    said = create("/nowhere/hfsandbox-agent", tmp_path)
    assert said.startswith("ERROR_AGENT") and "/nowhere/hfsandbox-agent" in said and "No such file" in said


def test_directory_is_no_agent(tmp_path):
    assert "ERROR_AGENT" in create(tmp_path, tmp_path)


def test_unexecutable_file_is_refused(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("x")
    said = create(plain, tmp_path)
    assert said.startswith(("ERROR_AGENT", "ERROR_SYSTEM"))


def test_environment_variable_and_search(tmp_path):
    text = """
import sbx
for agent in (None,):
    with sbx.Client(agent_path=agent) as client:
        try:
            client.create()
            print("made")
        except sbx.Error as e:
            print(e.name, e.message)
"""
    said = sbx.script(text, env={"HFSANDBOX_AGENT": "/nowhere/x"}).stdout
    assert said.startswith("ERROR_AGENT") and "HFSANDBOX_AGENT" in said and "/nowhere/x" in said


def test_program_that_ends_at_once(fake, tmp_path):
    said = create(fake("exit 7"), tmp_path)
    assert said.startswith("ERROR_AGENT") and "status 7" in said


def test_program_that_dies_by_signal(fake, tmp_path):
    assert "signal 9" in create(fake("kill -9 $$"), tmp_path)


def test_refusal_carries_step_cause_and_remedy(fake, tmp_path):
    line = {"ready": False, "step": "user-namespace", "error": "clone: Operation not permitted", "errno": 1,
            "remedy": "set kernel.unprivileged_userns_clone to 1"}
    said = create(fake(f"echo '{json.dumps(line)}' >&5; exec 5>&-; exit 1"), tmp_path)
    assert said.startswith("ERROR_ISOLATION")
    assert "user-namespace" in said and "Operation not permitted" in said and "kernel.unprivileged_userns_clone" in said


@pytest.mark.parametrize("line", ["nonsense", "{}", "[1]", '{"ready":tru', '{"ready":"yes"}'])
def test_nonsense_is_refused(fake, tmp_path, line):
    said = create(fake(f"printf '%s\\n' '{line}' >&5; sleep 30"), tmp_path)
    assert said.startswith(("ERROR_AGENT", "ERROR_ISOLATION"))


def test_endless_line_is_refused(fake, tmp_path):
    said = create(fake("exec tr '\\0' x < /dev/zero >&5"), tmp_path)
    assert said.startswith("ERROR_AGENT")


@pytest.mark.parametrize("detached", [0, 1])
def test_deadline_ends_a_silent_agent(fake, tmp_path, detached):
    said = create(fake("exec sleep 60"), tmp_path, timeout_ms=200, detached=detached)
    assert said.startswith("ERROR_TIMEOUT")


def test_deadline_ends_an_agent_that_ignores_sigterm(fake, tmp_path):
    said = create(fake("trap '' TERM; while :; do sleep 1; done"), tmp_path, timeout_ms=200)
    assert said.startswith("ERROR_TIMEOUT")


def test_cancel_ends_it(fake, tmp_path):
    agent = fake("echo x > $OUT; exec sleep 60")
    text = """
import sbx, sys, threading, os, time
cancel = sbx.Cancel()
def later():
    sbx.wait_until(lambda: os.path.exists(sys.argv[2]))
    cancel.now()
thread = threading.Thread(target=later); thread.start()
with sbx.Client(agent_path=sys.argv[1]) as client:
    try:
        client.create(cancel=cancel)
    except sbx.Error as e:
        print(e.name)
    sbx.wait_until(lambda: not sbx.children())
thread.join()
"""
    assert sbx.script(text, agent, tmp_path / "out").stdout == "ERROR_CANCELED\n"


INHERIT = """
ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> \\(.*\\)/\\1 \\2/p' > $OUT.fd
tr '\\0' '\\n' < /proc/self/environ > $OUT.env
cat /proc/self/status > $OUT.status
cut -d' ' -f5,6 /proc/self/stat > $OUT.session
cat <&3 > $OUT.config
exit 1
"""


def test_what_the_agent_inherits(fake, tmp_path):
    agent = fake(INHERIT)
    text = """
import sbx, sys, os, signal
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
with sbx.Client(agent_path=sys.argv[1]) as client:
    try:
        client.create(env=["SECRET=for-the-sandbox"])
    except sbx.Error as e:
        print(e.name)
"""
    sbx.script(text, agent, env={"HF_TOKEN": "hf_secret", "SBX_TEST_MARK": "1"})
    fds = dict(line.split(" ", 1) for line in (tmp_path / "out.fd").read_text().splitlines())
    assert fds["0"] == fds["2"] == "/dev/null" and "memfd:hfsandbox-config" in fds["3"] and fds["4"].startswith("socket:")
    assert fds["5"].startswith("pipe:") and "pidfd" in fds["6"]
    env = (tmp_path / "out.env").read_text()
    assert "hf_secret" not in env and "HOME=" not in env and "SBX_TEST_MARK=1" in env
    masks = dict(line.split(":\t") for line in (tmp_path / "out.status").read_text().splitlines() if line.startswith("Sig"))
    # 32 and 33 are the C library's own; glibc leaves them ignored in every program that posix_spawn starts.
    assert int(masks["SigBlk"], 16) == 0 and int(masks["SigIgn"], 16) & ~(3 << 31) == 0
    group, session = (tmp_path / "out.session").read_text().split()
    assert group == session != str(os.getsid(0))
    config = json.loads((tmp_path / "out.config").read_text())
    assert config["env"] == {"SECRET": "for-the-sandbox"} and config["level"] == "full" and config["network"] == "none"
    assert config["limits"]["processes"] == 512 and config["limits"]["open_files"] == 4096 and config["limits"]["disk"] == 1 << 30
    assert 0 < config["limits"]["memory"] <= 4 << 30 and config["idle_ms"] is None and config["dir"] is None


OCCUPIED = """
import sbx, sys, os
how = sys.argv[2]
client = sbx.Client(agent_path=sys.argv[1])
saved = os.dup2(1, 100)
if how == "closed":
    for fd in (0, 1, 2): os.close(fd)
    for fd in range(3, 16):
        try: os.close(fd) if fd > 10 else None
        except OSError: pass
else:
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
try:
    client.create(timeout_ms=20000)
except sbx.Error as e:
    os.write(saved, (e.name + " " + e.message).encode())
if how == "closed":
    low = [fd for fd in range(0, 3) if os.path.exists(f"/proc/self/fd/{fd}")]
    os.write(saved, f" low={low}".encode())
os._exit(0)
"""


@pytest.mark.parametrize("how", ["closed", "occupied"])
def test_places_of_the_agent_are_right_whatever_is_open(fake, tmp_path, how):
    sbx.script(OCCUPIED, fake(INHERIT), how)
    fds = dict(line.split(" ", 1) for line in (tmp_path / "out.fd").read_text().splitlines())
    assert "memfd:hfsandbox-config" in fds["3"] and fds["4"].startswith("socket:") and fds["5"].startswith("pipe:") and "pidfd" in fds["6"]
    assert json.loads((tmp_path / "out.config").read_text())["level"] == "full"


def test_control_descriptors_in_low_places_collide(fake, tmp_path):
    """Without the lift the config's own number (0, as it is free) is closed by the child's /dev/null."""
    done = sbx.script(OCCUPIED, fake(INHERIT), "closed", env={"SBX_TEST_OFF": "lift-descriptors"})
    config = tmp_path / "out.config"
    broken = not config.exists() or "level" not in config.read_text()
    assert broken, done.stdout


def test_runtime_directory_must_be_private(tmp_path):
    runtime = tmp_path / "open"
    runtime.mkdir()
    runtime.chmod(0o755)
    text = """
import sbx, sys
try:
    print(sbx.Client(runtime_dir=sys.argv[1]).list())
except sbx.Error as e:
    print(e.name, e.message)
"""
    said = sbx.script(text, runtime).stdout
    assert said.startswith("ERROR_DENIED") and str(runtime) in said and "chmod 700" in said
    assert sbx.script(text, runtime, env={"SBX_TEST_OFF": "runtime-private"}).stdout == "[]\n"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    assert sbx.script(text, link).stdout.startswith("ERROR_SYSTEM")
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(other, 12345, 12345)
        assert "belongs to user 12345" in sbx.script(text, other).stdout


def test_runtime_directory_comes_from_the_environment(tmp_path):
    tmp_path.chmod(0o700)
    text = "import sbx; print(sbx.Client().list())"
    assert sbx.script(text, env={"XDG_RUNTIME_DIR": tmp_path}).stdout == "[]\n"
    assert stat.S_IMODE((tmp_path / "hfsandbox").stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    assert sbx.script(text, env={"XDG_RUNTIME_DIR": "/nowhere"}).stdout == "[]\n"


REFUSED = [
    ({"isolation": "tight"}, "tight"), ({"network": "lan"}, "lan"), ({"env": ["NOVALUE"]}, "NAME=value"), ({"env": ["=x"]}, "NAME=value"),
    ({"cwd": "relative"}, "relative"), ({"idle_timeout_ms": -5}, "-5"), ({"limit_memory": 1}, "limit_memory"),
    ({"limit_open_files": 1 << 40}, "limit_open_files"), ({"binds": [("relative", None, 0)]}, "absolute"),
    ({"binds": [("/nowhere/at/all", None, 0)]}, "/nowhere/at/all"), ({"binds": [("/usr", "/proc/x", 0)]}, "/proc/x"),
    ({"binds": [("/usr", "/a/../b", 0)]}, "/a/../b"), ({"binds": [("/usr", "//", 0)]}, "//"),
    ({"binds": [("/usr", "/x", 0), ("/etc", "/x", 0)]}, "two binds"), ({"binds": [("/usr", "/x//y", 0)]}, "/x//y"),
    ({"binds": [("/usr", "/x/", 0)]}, "/x/"), ({"binds": [("/usr", "/home", 0)]}, "below /home"),
    ({"isolation": "landlock", "binds": [("/usr", "/x", 0)]}, "isolation full"), ({"binds": [("/dev/null", "/x", 0)]}, "/dev/null"),
    *(({"binds": [("/usr", place, 0)]}, f"'{place}' would cover") for place in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/libx", "/etc")),
]


def test_options_that_cannot_be_meant_are_refused(tmp_path):
    text = """
import sbx, sys
client = sbx.Client(agent_path="/bin/false")
for options in eval(sys.argv[1]):
    try:
        client.create(**options)
        print("made", options)
    except sbx.Error as e:
        print(e.name, e.message)
"""
    said = sbx.script(text, repr([options for options, _ in REFUSED])).stdout.splitlines()
    for line, (options, word) in zip(said, REFUSED, strict=True):
        assert line.startswith(("ERROR_INVALID", "ERROR_NOT_FOUND")) and word in line, (options, line)


def test_what_an_option_cannot_do_is_said(tmp_path):
    text = """
import sbx, sys
client = sbx.Client(runtime_dir=sys.argv[1])
for options in ({"isolation": "landlock", "limit_disk": 1 << 20}, {"isolation": "none", "limit_disk": 1 << 20},
                {"isolation": "none", "network": "none"}, {"binds": [("/usr", f"/b{i}", 0) for i in range(65)]}):
    try:
        client.create(**options)
        print("made", options)
    except sbx.Error as e:
        print(e.name, e.message)
with client.create(binds=[("/usr", f"/tmp/b{i}", 0) for i in range(63)] + [("/etc/passwd", "/etc/hosts", 0)]) as box:
    print(box.run("ls -d /tmp/b62; head -c 5 /etc/hosts").out)
"""
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    landlock, none, network, many, most = sbx.script(text, runtime).stdout.splitlines()
    for level, line in (("landlock", landlock), ("none", none)):
        assert line.startswith("ERROR_UNSUPPORTED") and "limit_disk is 1048576" in line and level in line
    assert many.startswith("ERROR_TOO_LARGE") and "65" in many and "64" in many
    assert network.startswith("ERROR_UNSUPPORTED") and "network is none" in network and "host" in network
    assert "/tmp/b62" in most and "root:" in most


LEVELS = """
import sbx, sys
with sbx.Client(runtime_dir=sys.argv[1]) as client:
    for detached in (0, 1):
        try:
            with client.create(isolation=sys.argv[2], network="host", detached=detached) as box:
                assert box.info()["network"] == "host"
                print(box.run("id -u; pwd; echo x > f && cat f; touch /etc/x 2>/dev/null || echo kept").out.decode().split())
                box.kill()
        except sbx.Error as e:
            print(e.name, e.message)
"""


@pytest.mark.parametrize("level", ["landlock", "none"])
def test_weaker_levels_have_a_home_of_their_own(level):
    import tempfile
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        os.chmod(runtime, 0o711 if os.geteuid() == 0 else 0o700)
        for line in sbx.script(LEVELS, runtime, level).stdout.splitlines():
            uid, home, x, *kept = eval(line)
            assert x == "x" and home.startswith(runtime + "/local-") and home.endswith("/home")
            if level == "landlock":
                assert kept == ["kept"] and uid != "0"
        assert os.listdir(runtime) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's commands change their user")
def test_home_that_cannot_be_reached_is_an_error_with_a_remedy(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    said = sbx.script(LEVELS, closed / "r", "landlock").stdout.splitlines()
    assert len(said) == 2 and all(line.startswith("ERROR_DENIED") and str(closed) in line and "runtime_dir" in line for line in said)
    assert os.listdir(closed / "r") == []
