"""Mistakes in SwarmCluster's arguments for hosts on EC2."""

from typing import Any

import pytest

from components.swarm_cluster import check_swarm_cluster
from tests.unit.swarm_on_ec2 import ARGS

MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"ec2": {"zones": 1}}, "zones", "1 zones; 2 to 4: a load balancer stands in 2 at least"),
    ({"ec2": {"zones": 9}}, "zones", "9 zones; 2 to 4"),
    ({"ec2": {"managers": 2}}, "managers", "2 managers; 1, 3, 5, 7: a swarm needs a majority"),
    ({"ec2": {"managers": 4}}, "managers", "4 managers"),
    ({"ec2": {"managers": 9}}, "managers", "9 managers"),
    ({"ec2": {"workers": 0}}, "workers", "0 workers; 1 to 100"),
    ({"ec2": {"workers": 101}}, "workers", "101 workers; 1 to 100"),
    ({"ec2": {"cidr": "10.213.0.0/16"}}, "cidr", "10.213.0.0/16 overlaps hubstack:addressPool 10.213.0.0/16"),
    (
        {"ec2": {"cidr": "10.10.0.0/16"}, "addressPool": "10.0.0.0/8"},
        "cidr",
        "overlaps hubstack:addressPool 10.0.0.0/8",
    ),
    ({"ec2": {"cidr": "172.20.0.0/20"}}, "cidr", "engines make for themselves, 172.20.0.0/16"),
    ({"addressPool": "172.16.0.0/12"}, "addressPool", "172.16.0.0/12 overlaps 172.20.0.0/16"),
    ({"ec2": {"cidr": "8.8.0.0/16"}}, "cidr", "no private range from /16 to /20"),
    ({"ec2": {"cidr": "10.0.0.0/24"}}, "cidr", "no private range from /16 to /20"),
    ({"ec2": {"managerType": "big"}}, "managerType", "'big' is no instance type"),
    ({"ec2": {"workerType": "big"}}, "workerType", "'big' is no instance type"),
    ({"ec2": {"image": "debian"}}, "image", "'debian' is no id of a machine image"),
    ({"ec2": {"monthlyBudget": 5}}, "budgetEmail", "needs the address"),
    ({"ec2": {"zone": "example.com"}}, "domain", "hub.example.org is not in the hosted zone 'example.com'"),
    ({"domain": "localhost"}, "domain", "'localhost' is no host name"),
    ({"hubImage": ""}, "hubImage", "pull it by digest from a registry"),
    ({"notebookImage": ""}, "notebookImage", "pull it by digest from a registry"),
    ({"hubImage": "hubstack/hub:1"}, "hubImage", "hubstack/hub:1 is not pinned"),
]


@pytest.mark.parametrize(("args", "path", "message"), MISTAKES)
def test_a_mistake_is_named_with_what_is_allowed(args: dict[str, Any], path: str, message: str):
    given: Any = {**ARGS, **args, "ec2": {**ARGS.get("ec2", {}), **args.get("ec2", {})}}
    errors = check_swarm_cluster(given)

    assert any(error["property_path"] == path and message in error["reason"] for error in errors), errors


def test_a_good_stack_has_no_mistake():
    assert check_swarm_cluster(ARGS) == []


@pytest.mark.parametrize(
    ("args", "path"),
    [({"ec2": {"zones": 0}}, "zones"), ({"ec2": {"zones": 5}}, "zones"), ({"addressPool": "1.2.3.4/8"}, "addressPool")],
)
def test_one_mistake_is_reported_once_at_its_own_place(args: dict[str, Any], path: str):
    given: Any = {**ARGS, **args, "ec2": {**ARGS.get("ec2", {}), **args.get("ec2", {})}}

    assert [error["property_path"] for error in check_swarm_cluster(given)] == [path]


def test_every_mistake_is_reported_at_once():
    given: Any = {
        **ARGS,
        "hubImage": "",
        "ec2": {"zone": "example.com", "zones": 1, "managers": 2, "workers": 0, "cidr": "10.213.0.0/16"},
    }

    assert {error["property_path"] for error in check_swarm_cluster(given)} == {
        *("domain", "hubImage", "zones", "managers", "workers", "cidr", "alarmEmail")
    }
