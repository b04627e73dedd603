"""The command on the local Hub over TLS."""
# ctest: timeout=300
import json

from command import User
from localhub import Accounts, Hub


def test_tls_and_a_token_of_somebody_else():
    with Hub(tls=True) as hub, User(hub=hub) as user:
        id = user.ok("create").decode().strip()
        assert user.ok("exec", f"alice/{id}", "--", "echo", "safe") == b"safe\n"
        other = {"HF_TOKEN": Accounts.MALLORY}
        assert id in user.fails("exec", id, "--", "true", env=other)
        assert "403" in user.fails("exec", f"alice/{id}", "--", "true", env=other)
        assert "certificate" in user.fails("list", env={"CURL_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"})
        assert json.loads(user.ok("kill", "--json", id))["ended"] == 1
        assert not hub.jobs.running()


def test_the_end_of_the_program_is_clean():
    """The client is gone before main returns: taken down by its own thread while the exit takes down the TLS library, it would now and then
    be reported as a leak."""
    with Hub(tls=True) as hub, User(hub=hub) as user:
        for _ in range(50):
            user.ok("hardware")
