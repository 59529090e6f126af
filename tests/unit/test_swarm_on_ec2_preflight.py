"""What AWS is asked before a swarm is made on EC2: types, quotas, zones, and whether its servers fit."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.aws.account import UNKNOWN_SIZE, InstanceSize
from components.aws.swarm_plan import check_capacity, quota_needs, servers_that_fit
from tests.unit.recording import Answer
from tests.unit.swarm_on_ec2 import build


def refusal(answers: Mapping[str, Answer] | None = None, **args: Any) -> list[pulumi.InputPropertyErrorDetails]:
    with pytest.raises(pulumi.InputPropertiesError) as raised:
        build(answers, **args)
    return list(raised.value.errors or [])


def test_workers_that_cannot_hold_the_servers_are_refused_with_the_numbers():
    answers: dict[str, Answer] = {
        "aws:ec2/getInstanceType:getInstanceType": lambda _: {"defaultVcpus": 2, "memorySize": 4096}
    }
    [error] = refusal(answers, fleetQuota={"servers": 50}, userQuota={"memory": "1G"})

    assert error["property_path"] == "workers"
    assert "2 workers of type m6i.xlarge hold 6 servers of 1024 MiB, and 50 are allowed" in error["reason"]
    assert "raise workers" in error["reason"]


def test_a_type_that_aws_does_not_know_is_named_once():
    def unknown(given: Mapping[str, Any]) -> dict[str, Any]:
        if given["instanceType"] == "m9.huge":
            raise RuntimeError("no matching EC2 Instance Type m9.huge")
        return {"defaultVcpus": 2, "memorySize": 4096}

    errors = refusal({"aws:ec2/getInstanceType:getInstanceType": unknown}, ec2={"workerType": "m9.huge"})

    assert [error["property_path"] for error in errors] == ["workerType"]
    assert "m9.huge" in errors[0]["reason"]


def test_what_the_account_lacks_is_listed_at_once_before_a_child_is_registered():
    def no_zone(_: Mapping[str, Any]) -> dict[str, Any]:
        raise RuntimeError("no matching Route 53 Hosted Zone found")

    limits = {"L-1216C47A": 8, "L-0263D0A3": 1, "L-7A658B76": 50}
    answers: dict[str, Answer] = {
        "aws:route53/getZone:getZone": no_zone,
        "aws:servicequotas/getServiceQuota:getServiceQuota": lambda given: {"value": limits[given["quotaCode"]]},
        "aws:index/getAvailabilityZones:getAvailabilityZones": lambda _: {"names": ["us-east-1a", "us-east-1b"]},
    }
    told = "\n".join(error["reason"] for error in refusal(answers, ec2={"natPerZone": True}))

    assert "no matching Route 53 Hosted Zone found" in told
    # Three managers, two workers and the one that replaces a worker, with two processors each.
    assert "(ec2 L-1216C47A): the account has 8, this stack needs up to 12" in told
    assert "(ec2 L-0263D0A3): the account has 1, this stack needs up to 3" in told
    assert "the region has 2 zones, not 3" in told


def test_disks_of_many_hosts_are_held_against_the_accounts_limit():
    sizes = {"managerType": InstanceSize(2, 4096), "workerType": InstanceSize(8, 32768)}
    needs = {n.code: n.need for n in quota_needs({"zone": "example.org", "managers": 5, "workers": 99}, sizes)}

    assert needs == {"L-1216C47A": 5 * 2 + 100 * 8, "L-0263D0A3": 1, "L-7A658B76": 4}


sizes = st.integers(1, 2048).map(lambda gibibytes: InstanceSize(4, gibibytes * 1024))
memories = st.integers(2**27, 2**36)


@given(st.integers(1, 100), sizes, memories)
def test_servers_that_fit_never_take_more_memory_than_the_workers_have(workers: int, size: InstanceSize, memory: int):
    each, rest = divmod(servers_that_fit(workers, size, memory), workers)

    assert rest == 0
    assert each * memory <= size.memory_mebibytes * 2**20
    assert (each + 1) * memory > size.memory_mebibytes * 2**20 * 0.96 - 768 * 2**20, "one more would have fitted"


@given(st.integers(1, 100), sizes, memories)
def test_a_stack_is_refused_exactly_when_its_servers_do_not_fit(workers: int, size: InstanceSize, memory: int):
    fit = servers_that_fit(workers, size, memory)

    assert check_capacity({"zone": "example.org", "workers": workers}, size, fit, memory) == []
    assert len(check_capacity({"zone": "example.org", "workers": workers}, size, fit + 1, memory)) == 1


def test_a_size_that_is_not_known_is_no_second_mistake():
    assert servers_that_fit(3, UNKNOWN_SIZE, 2**30) == 0
    assert check_capacity({"zone": "example.org"}, UNKNOWN_SIZE, 20, 2**30) == []
