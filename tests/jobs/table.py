"""What the tests of the failure dials share: one Hub and one program for all cases of a file, each of which begins where nothing is wrong."""
import pytest
from agent import wait_until
from jobs import Driver
from localhub import Dials, Hub

from conftest import Program

MAKE = "box = client.create(timeout_ms=args[0], **args[1]); value = box.id"
SOON = 10.0  # "at once", on a machine that has much else to do
FAR = 60000


@pytest.fixture(scope="module")
def served():
    with Hub() as hub:
        hub.program = Program(hub)
        with Driver(hub) as driver:
            hub.driver = driver
            yield hub


@pytest.fixture
def hub(served):
    yield served
    served.clear_faults()
    served.jobs.next.clear()
    served.dial(**vars(Dials()))
    wait_until(lambda: not served.jobs.running(), 20, "the end of all jobs")


def create(hub, timeout=FAR, **options):
    """A creation whose handle is given back at once. Nothing of it may be left."""
    before, known = len(hub.requests.of("create")), {job.id for job in hub.jobs}
    done = hub.driver.ask(MAKE, timeout, options)
    done.creates = len(hub.requests.of("create")) - before
    done.jobs = [job for job in hub.jobs if job.id not in known]
    wait_until(lambda: not hub.jobs.running(), 20, "the end of what was made")
    return done


# What each kind of request needs in order to be made during a creation.
NEEDS = {"whoami": {}, "create": {}, "inspect": {}, "list": {"client_key": "a-key"}, "hardware": {"max_cost_micro_usd": 10 ** 9}}
MADE = ("inspect",)  # those that come when the job is there
