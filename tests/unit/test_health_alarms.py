"""Who hears when a name of a stack on AWS does not answer."""

from typing import Any, cast

import pytest

from components import Ec2HubCluster, Ec2HubClusterArgs, SwarmCluster, TmpnbNodePool
from components.ec2_hub_cluster import check_ec2_hub_cluster
from components.pool_checks import check_tmpnb_node_pool
from components.swarm_cluster import check_swarm_cluster
from tests.unit.recording import Recorder, Registration, record
from tests.unit.topologies import SWARM_ON_EC2, TMPNB_ON_EC2, TOPOLOGIES

HEALTH_CHECK = "aws:route53/healthCheck:HealthCheck"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
TOPIC = "aws:sns/topic:Topic"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"

ON_AWS = ("swarm on EC2", "ec2hub", "tmpnb on EC2")
NAMES = {
    "swarm on EC2": {"hub.example.org"},
    "ec2hub": {"hub.example.org"},
    "tmpnb on EC2": {"tmp.example.org", *(f"tmp{number:02}.tmp.example.org" for number in (1, 2, 3))},
}
HUB: Ec2HubClusterArgs = {"domain": "hub.example.org", "zone": "example.org", "users": [{"name": "ada"}]}


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def who_hears(recorder: Recorder) -> dict[str, list[str]]:
    """E-mail addresses that are told, by the name that does not answer."""
    topics = {f"arn:aws:service:us-east-1:123456789012:{name}": name for name in of_type(recorder, TOPIC)}
    subscriptions = of_type(recorder, SUBSCRIPTION).values()
    assert all(r.properties["protocol"] == "email" for r in subscriptions)
    mails = {r.properties["topic"]: r.properties["endpoint"] for r in subscriptions}
    asked = {f"{name}-id": check.properties["fqdn"] for name, check in of_type(recorder, HEALTH_CHECK).items()}
    return {
        asked[alarm.properties["dimensions"]["HealthCheckId"]]: [
            mails[topic] for topic in alarm.properties["alarmActions"] if topic in topics
        ]
        for alarm in of_type(recorder, ALARM).values()
    }


@pytest.mark.parametrize("topology", ON_AWS)
def test_the_owner_gets_an_e_mail_when_a_name_of_theirs_does_not_answer(topology: str):
    recorder = record(TOPOLOGIES[topology])

    assert who_hears(recorder) == {name: ["owner@example.org"] for name in NAMES[topology]}
    assert len(of_type(recorder, TOPIC)) == 1, "whoever is told agrees once"


@pytest.mark.parametrize("topology", ON_AWS)
def test_topics_and_alarms_have_names_by_which_a_killed_update_finds_them_again(topology: str):
    recorder = record(TOPOLOGIES[topology])

    for kind in (ALARM, TOPIC):
        assert all(made.properties["name"] == name for name, made in of_type(recorder, kind).items())


@pytest.mark.parametrize("topology", ON_AWS)
def test_an_alarm_goes_off_when_its_check_fails_or_falls_silent_where_route_53_tells(topology: str):
    recorder = record(TOPOLOGIES[topology])

    for alarm in of_type(recorder, ALARM).values():
        told = alarm.properties
        assert (told["namespace"], told["metricName"], told["statistic"]) == (
            "AWS/Route53",
            "HealthCheckStatus",
            "Minimum",
        )
        assert (told["comparisonOperator"], told["threshold"]) == ("LessThanThreshold", 1)
        assert told["treatMissingData"] == "breaching"
        assert told["okActions"] == told["alarmActions"]
        assert told["period"] * told["evaluationPeriods"] <= 300
    for kind in (ALARM, TOPIC, SUBSCRIPTION):
        assert {r.properties["region"] for r in of_type(recorder, kind).values()} == {"us-east-1"}


@pytest.mark.parametrize("budget", [{}, {"monthlyBudget": 5, "budgetEmail": "money@example.org"}])
def test_an_address_of_its_own_hears_of_what_does_not_answer(budget: dict[str, Any]):
    own = {**budget, "alarmEmail": "ops@example.org"}
    swarm = record(lambda: SwarmCluster("lab", cast("Any", {**SWARM_ON_EC2, "ec2": {"zone": "example.org", **own}})))
    pool = record(lambda: TmpnbNodePool("lab", cast("Any", {**TMPNB_ON_EC2, "ec2": {"zone": "example.org", **own}})))
    hub = record(lambda: Ec2HubCluster("lab", cast("Any", {**HUB, **own})))

    for recorder in (swarm, pool, hub):
        assert {mail for mails in who_hears(recorder).values() for mail in mails} == {"ops@example.org"}


def test_a_hub_of_which_nobody_would_hear_is_a_mistake():
    swarm = check_swarm_cluster({**SWARM_ON_EC2, "ec2": {"zone": "example.org"}})
    hub = check_ec2_hub_cluster(HUB)

    for errors in (swarm, hub):
        [error] = errors
        assert error["property_path"] == "alarmEmail"
        assert "`budgetEmail`" in error["reason"]


@pytest.mark.parametrize("address", ["", "owner"])
def test_what_is_no_address_cannot_hear(address: str):
    on_ec2: Any = {"zone": "example.org", "alarmEmail": address}
    swarm = check_swarm_cluster({**SWARM_ON_EC2, "ec2": on_ec2})
    pool = check_tmpnb_node_pool({**TMPNB_ON_EC2, "ec2": on_ec2})
    hub = check_ec2_hub_cluster({**HUB, "alarmEmail": address})

    for errors in (swarm, pool, hub):
        assert f"{address!r} is no e-mail address" in [error["reason"] for error in errors]
