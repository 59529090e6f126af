"""Stacks on AWS, their whole life on a simulated account with the real provider."""

from pathlib import Path

import pytest

from tests.stacks import needs_pulumi
from toolchain.rehearsal import rehearse

pytestmark = pytest.mark.engine


def test_a_hub_on_ec2_goes_up_stays_unchanged_and_leaves_only_what_it_keeps(tmp_path: Path):
    needs_pulumi()

    left = rehearse("ec2hub", tmp_path, "example.org")

    assert [name.split()[0] for name in left] == ["volume"], "the hub's database is kept"


def test_a_swarm_on_ec2_goes_up_stays_unchanged_and_leaves_only_what_it_keeps(tmp_path: Path):
    needs_pulumi()

    left = rehearse("prod", tmp_path, "example.org")

    assert [name.rsplit(maxsplit=1)[0] for name in left] == ["file system"], "it holds the homes and the hub's database"
