"""hfsandbox doctor: each check can fail, says what to do, and tells nothing that is not to be told."""
# ctest: timeout=300
import json
import re
import socket
import subprocess

import pytest
from command import User
from localhub import Accounts, Hub


@pytest.fixture
def user(hub):
    with User(hub=hub) as user:
        yield user


def report(user, *words, code=0, **more):
    run = user("doctor", "--json", *words, **more)
    assert run.code == code and run.err == b"", run
    found = json.loads(run.out)
    assert found["ok"] == (code == 0)
    return found, {check["name"]: check for check in found["checks"]}


def test_all_is_well(user, hub):
    found, checks = report(user)
    assert {name: check["state"] for name, check in checks.items()} == {
        "agent": "ok", "isolation": "ok", "endpoint": "ok", "tls": "skipped", "token": "ok", "telemetry": "ok", "proxies": "ok", "curl": "ok"}
    assert "alice" in checks["token"]["text"] and "HF_TOKEN" in checks["token"]["text"] and hub.endpoint in checks["endpoint"]["text"]
    assert "libcurl" in checks["curl"]["text"] and found["version"] and "Linux" in found["system"]
    text = user.ok("doctor").decode()
    assert text.startswith(f"hfsandbox {found['version']}, Linux ") and len(text.strip().split("\n")) == 1 + len(checks)
    assert all(line.split("  ")[0] in ("ok", "not ok", "skipped") for line in text.strip().split("\n")[1:])
    assert hub.token not in text and not len(hub.jobs)
    assert set(report(user, "--provider", "local")[1]) == {"agent", "isolation"}
    assert set(report(user, "--provider", "jobs")[1]) == {"curl", "endpoint", "tls", "token", "telemetry", "proxies"}
    checks = report(user, env={"HFSANDBOX_PROVIDER": "", "HF_TOKEN": "", "HF_HOME": "/no/where"})[1]
    assert checks["token"]["state"] == "skipped" and "hf auth login" in checks["token"]["text"] and checks["agent"]["state"] == "ok"


@pytest.mark.parametrize("provider", ["jobs", "local"])
def test_create_measures_a_sandbox_and_ends_it(user, hub, provider):
    found, checks = report(user, "--create", "--provider", provider)
    assert all(checks[name]["state"] == "ok" for name in ("create", "exec", "transfer", "end"))
    figures = found["figures"]
    names = {"create_ms", "exec_median_us", "exec_least_us", "exec_most_us", "write_1k_us", "read_1k_us", "write_8m_us", "read_8m_us", "end_ms"}
    assert names <= set(figures) and all(value >= 0 for value in figures.values())
    assert ("create_accepted_ms" in figures) == (provider == "jobs")
    assert figures["exec_least_us"] <= figures["exec_median_us"] <= figures["exec_most_us"]
    assert len(hub.jobs) == (provider == "jobs") and not hub.jobs.running()


def test_create_takes_image_flavor_and_namespace(user, hub):
    report(user, "--create", "--provider", "jobs", "--image", "debian:12", "--flavor", "cpu-upgrade", "--namespace", "acme")
    job = hub.jobs.last()
    assert (job.request["dockerImage"], job.request["flavor"], job.namespace) == ("debian:12", "cpu-upgrade", "acme")
    checks = report(user, "--create", "--provider", "jobs", "--image", "no/such/image", code=1)[1]
    assert checks["create"]["state"] == "failed" and "exec" not in checks and not hub.jobs.running()


@pytest.mark.parametrize("env,failed,words", [
    ({"HF_TOKEN": Accounts.UNKNOWN}, "token", ["401"]),
    ({"HF_TOKEN": "", "HF_HOME": "/no/where"}, "token", ["set HF_TOKEN", "hf auth login"]),
    ({"HF_ENDPOINT": "http://127.0.0.1:1"}, "endpoint", ["http://127.0.0.1:1", "HF_ENDPOINT"]),
    ({"HF_ENDPOINT": "huggingface.co"}, "endpoint", ["huggingface.co", "https://"]),
    ({"HF_HUB_OFFLINE": "1"}, "endpoint", ["HF_HUB_OFFLINE"]),
    ({"CURL_CA_BUNDLE": "/no/such/file"}, "tls", ["CURL_CA_BUNDLE", "/no/such/file"]),
    ({"HFSANDBOX_AGENT": "/no/such/agent"}, "agent", ["/no/such/agent", "HFSANDBOX_AGENT"]),
])
def test_a_failed_check_is_named_with_its_remedy(user, env, failed, words):
    checks = report(user, code=1, env=env)[1]
    assert {name for name, check in checks.items() if check["state"] == "failed"} == set(failed.split())
    failed = failed.split()[-1]
    assert all(word in checks[failed]["text"] for word in words), checks[failed]
    assert ("the way there open" in checks[failed]["text"]) == (env.get("HF_ENDPOINT") == "http://127.0.0.1:1")
    text = user("doctor", env=env)
    assert text.code == 1 and f"not ok   {failed}".encode() in text.out


@pytest.mark.parametrize("provider,env", [("jobs", {"HF_TOKEN": Accounts.UNKNOWN}), ("jobs", {"HF_ENDPOINT": "http://127.0.0.1:1"}),
                                          ("local", {"HFSANDBOX_AGENT": "/no/such/agent"})])
def test_nothing_is_made_after_a_failed_check(user, hub, provider, env):
    checks = report(user, "--create", code=1, env={"HFSANDBOX_PROVIDER": provider, **env})[1]
    assert checks["create"]["state"] == "skipped" and not hub.requests.of("create") and "exec" not in checks
    other = "local" if provider == "jobs" else "jobs"   # whose checks hold
    assert report(user, "--create", code=1, env={**env, "HFSANDBOX_PROVIDER": other})[1]["end"]["state"] == "ok"


def test_each_line_comes_as_soon_as_it_is_known(user, hub):
    hub.fault("whoami", hang=True)
    process = user.start("doctor")
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[0].startswith(b"hfsandbox ") and lines[1].startswith(b"ok       agent ") and b" isolation " in lines[2], lines
    assert process.poll() is None
    process.terminate()
    assert process.communicate(timeout=20)[0] == b"" and process.returncode == -15
    hub.clear_faults()


def test_isolation_that_cannot_be_had(user):
    """In a user namespace below which there can be no other."""
    argv = ["unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh",
            *map(str, User.argv(User(), ["doctor", "--provider", "local"]))]
    run = subprocess.run(argv, env=user.env, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and run.stdout.split("\n")[1].startswith("ok       agent"), run
    assert re.search(r"^not ok   isolation .*user.namespace", run.stdout, re.M), run.stdout


def test_an_end_that_fails_is_told(user, hub):
    hub.fault("cancel", status=403)
    checks = report(user, "--create", "--provider", "jobs", code=1)[1]
    assert checks["create"]["state"] == "ok" and checks["end"]["state"] == "failed" and "403" in checks["end"]["text"]
    hub.clear_faults()


def test_tls():
    with Hub(tls=True) as hub, User(hub=hub) as user:
        checks = report(user, "--create", "--provider", "jobs")[1]
        assert checks["tls"]["state"] == "ok" and "ca-certificates.crt" in checks["tls"]["text"]
        checks = report(user, "--provider", "jobs", code=1, env={"CURL_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"})[1]
        assert checks["tls"]["state"] == "failed" and "CURL_CA_BUNDLE" in checks["tls"]["text"] and checks["token"]["state"] == "skipped"


def test_it_could_not_run(user):
    assert "moon" in user.fails("doctor", "--provider", "moon")
    with open("/dev/full", "wb") as full:
        assert user("doctor", "--provider", "local", stdout=full).code == 125


def test_what_is_not_to_be_told(user, hub):
    """The same errors told by another command hold it, so it is the report that leaves it out."""
    home = str(user.home)
    bad_agent = {"HFSANDBOX_AGENT": f"{home}/no/agent"}
    assert home in user.fails("run", "--provider", "local", "--", "true", env=bad_agent)
    text = report(user, "--provider", "local", code=1, env=bad_agent)[1]["agent"]["text"]
    assert home not in text and "~/no/agent" in text

    proxy = {"https_proxy": "http://someone:geheim@proxy.internal.example:3128", "HF_ENDPOINT": "https://hub.example"}
    assert "proxy.internal.example" in user.fails("list", env=proxy)
    run = user("doctor", "--provider", "jobs", env=proxy)
    assert run.code == 1 and b"internal" not in run.out and b"geheim" not in run.out and b"someone" not in run.out
    assert b"<proxy>" in run.out and b"https_proxy" in run.out and b"hub.example" in run.out

    host = "named-by-somebody"
    argv = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *user.argv(["doctor", "--provider", "jobs"])]
    hub.fault("whoami", status=404, body=f"no {host} here")
    run = subprocess.run(argv, env=user.env, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and host not in run.stdout and "no <this computer> here" in run.stdout
    assert socket.gethostname() != host

    hub.clear_faults()
    hub.fault("whoami", status=404, body=f"bad token {hub.token}")
    run = user("doctor", "--provider", "jobs")
    assert run.code == 1 and hub.token.encode() not in run.out


def test_telemetry_is_off_by_what_turns_it_off(user):
    off = {"HF_HUB_DISABLE_TELEMETRY": "no", "DISABLE_TELEMETRY": "0", "DO_NOT_TRACK": "yes"}
    assert report(user, "--provider", "jobs", env=off)[1]["telemetry"]["text"] == "off, by DO_NOT_TRACK"
    assert report(user, "--provider", "jobs", env={**off, "DO_NOT_TRACK": "no"})[1]["telemetry"]["text"].startswith("on:")
