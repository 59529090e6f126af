"""One running hub that all end-to-end tests use, each with users of its own."""

from collections.abc import Iterator

import pytest

from tests.stacks import Stack, needs_engine_and_docker

CONFIG = {
    "users": ["root admin", *(f"user{number}" for number in range(1, 9))],
    "port": 18443,
    "addressPool": "10.215.0.0/16",
    "dataProtection": False,
    "userQuota": {
        "cpu": 1,
        "memory": "512M",
        "processes": 128,
        "home": "64M",
        "tmp": "32M",
        "idle": 120,
        "maxAge": 900,
    },
    "fleetQuota": {"servers": 3},
}


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a running hub; destroyed at the end, after which nothing may be left."""
    needs_engine_and_docker()
    with Stack("e2e", tmp_path_factory.mktemp("hub"), CONFIG).deployed() as stack:
        yield stack
