"""Random interleavings of everything that programs do with one pool, and of what goes wrong meanwhile, against the rules of
tests/support/pool_model.py after each step. A failure tells its seed and steps:

    SBX_MODEL_SEED=17       only that one
    SBX_MODEL_PLAN=file     a plan as JSON, as pool_plan.make gives it

test_model_controls.py breaks each rule."""
# ctest: timeout=2400
import json
import os

import pool_plan
import pytest
from conftest import prepared
from localhub import Hub
from pool_crew import Broken, Crew
from pool_model import Model

STEPS = 24
SEEDS = range(1, 151 if os.environ.get("SBX_LONG") else 13)


def plans():
    if path := os.environ.get("SBX_MODEL_PLAN"):
        return [json.load(open(path))]
    seed = os.environ.get("SBX_MODEL_SEED")
    return [pool_plan.make(n, STEPS) for n in ([int(seed)] if seed else SEEDS)]


class Stage:
    """A Hub and its programs, made anew after a failure."""

    def __init__(self):
        self.hub = None

    def play(self, plan):
        if self.hub is None:
            self.hub = prepared(Hub().start())
            self.crew = Crew(self.hub).__enter__()
        try:
            Model(self.crew, plan).run()
        except BaseException:
            self.close(failed=True)
            raise
        self.hub.requests.clear()

    def close(self, failed=False):
        if self.hub is None:
            return
        hub, self.hub = self.hub, None
        try:
            self.crew.__exit__(Broken if failed else None)
        finally:
            hub.close()


@pytest.fixture(scope="module")
def stage():
    stage = Stage()
    yield stage
    stage.close()


@pytest.mark.parametrize("plan", plans(), ids=lambda plan: f"seed{plan['seed']}")
def test_the_rules_hold(stage, plan):
    stage.play(plan)
