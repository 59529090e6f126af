"""Secrets that a stack makes for itself, in the graphs of all topologies."""

import pytest

from tests.unit.recording import record
from tests.unit.topologies import TOPOLOGIES

SECRET_OUTPUT = {"random:index/randomBytes:RandomBytes": "hex", "random:index/randomPassword:RandomPassword": "result"}
"""What is random and encrypted in the state; ids never are, and that of a `RandomId` tells its value."""


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_whatever_is_random_is_encrypted_in_the_state(topology: str):
    made = [one for one in record(TOPOLOGIES[topology]).registrations if one.type.startswith("random:")]

    assert {one.type for one in made} <= set(SECRET_OUTPUT)
    assert all(SECRET_OUTPUT[one.type] in one.secret_outputs for one in made)
    assert bool(made) == (topology != "platform"), "a platform has nobody's password"
