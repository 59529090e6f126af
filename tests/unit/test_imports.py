"""What loading the library costs a stack."""

import subprocess
import sys

import pytest

import components
from tests.stacks import ROOT

LOADED = """
import sys
import components
from components.settings import parse_settings
parse_settings({"hubstack:users": '["ada"]'})
components.SwarmCluster
print(*sorted(sys.modules), sep="\\n")
"""


def test_a_stack_that_deploys_to_no_cloud_does_not_wait_for_its_sdk():
    told = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())

    assert "pulumi_docker" in loaded
    assert not loaded & {"boto3", "pulumi_aws", "pulumi_kubernetes"}


@pytest.mark.parametrize("name", components.__all__)
def test_every_public_name_is_there_when_it_is_asked_for(name: str):
    assert getattr(components, name).__name__ == name


def test_a_name_that_is_not_public_is_no_attribute():
    assert not hasattr(components, "Ec2HubClusters")
