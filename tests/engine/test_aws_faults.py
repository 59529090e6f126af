"""A stack on AWS in trouble: updates that fail half-way, and changes that somebody made by hand."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response
from moto.iam.responses import IamResponse
from moto.logs.responses import LogsResponse
from moto.route53.responses import Route53
from moto.secretsmanager.responses import SecretsManagerResponse

from tests.engine.faulty_aws import Call, refused, unanswered
from tests.engine.killing import killed
from tests.stacks import needs_pulumi
from toolchain.aws_simulator import client
from toolchain.rehearsal import LEFT_TO_AWS, Rehearsal, inventory, rehearsal_of

pytestmark = pytest.mark.engine

STACK = "ec2hub"
ZONE = "example.org"
CLUSTER = f"hubstack-{STACK}"

ON_THE_STACK = ["--non-interactive", "--stack", STACK, *LEFT_TO_AWS]

FIRST_CALLS: list[Call] = [
    (EC2Response, "create_vpc"),
    (EC2Response, "allocate_address"),
    (IamResponse, "create_role"),
    (LogsResponse, "create_log_group"),
    (Route53, "create_health_check"),
    (SecretsManagerResponse, "create_secret"),
]
"""What is made before anything else is there: all of it is on its way at once."""

SHELL_FOR_ALL = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}

NO_CAPACITY = EC2ClientError("InsufficientInstanceCapacity", "There is no room for a t3.medium in us-east-1a")


@dataclass
class Update:
    """An update by `toolchain/stack`, and what it left."""

    code: int
    output: str
    state: dict[str, Any]
    made: set[str]
    """What the account holds of the stack."""


@dataclass
class Course:
    """A stack whose first update was killed, the second refused a call, the third killed, and the fourth let through."""

    rehearsal: Rehearsal
    made_before_the_first_kill: set[str]
    refused: Update
    launched_before_the_second_kill: set[str]
    finished: Update

    @property
    def ec2(self) -> Any:
        """A client of the simulated EC2."""
        return client("ec2", self.rehearsal.endpoint)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    needs_pulumi()
    with rehearsal_of(STACK, tmp_path_factory.mktemp("faults"), ZONE) as rehearsal:
        before = holdings(rehearsal.endpoint)
        with unanswered(*FIRST_CALLS) as held:
            kill(rehearsal, lambda: {name for _, name in FIRST_CALLS} <= set(held.names))
            first = holdings(rehearsal.endpoint) - before
        with refused((EC2Response, "run_instances"), NO_CAPACITY):
            failed = update(rehearsal, before)
        with unanswered((EC2Response, "run_instances")) as held:
            kill(rehearsal, lambda: bool(held.names))
            second = of_kind("instance", holdings(rehearsal.endpoint) - before)
        yield Course(rehearsal, first, failed, second, update(rehearsal, before))
        rehearsal.step("destroy", "destroy", "--yes", "--skip-preview")
        left = holdings(rehearsal.endpoint) - before
        assert [name.split()[0] for name in left] == ["volume"], "nothing but the hub's database is kept"


def kill(rehearsal: Rehearsal, when: Any) -> None:
    # Room for all of the first calls beside each other, however few processors there are.
    command = ["pulumi", "up", "--yes", "--skip-preview", "--parallel", "16", *ON_THE_STACK]
    killed(command, rehearsal.project, dict(rehearsal.environment), when)


def update(rehearsal: Rehearsal, before: set[str]) -> Update:
    code, output = run(rehearsal, "toolchain/stack", "up", STACK, "--skip-preview", *LEFT_TO_AWS)
    state = json.loads(rehearsal.pulumi("stack", "export", "--stack", STACK))
    return Update(code, output, state, holdings(rehearsal.endpoint) - before)


def holdings(endpoint: str) -> set[str]:
    """All that the account holds of what this stack makes, as `kind id`."""
    ec2, iam = client("ec2", endpoint), client("iam", endpoint)
    listed = {
        "subnet": [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]],
        "route table": [t["RouteTableId"] for t in ec2.describe_route_tables()["RouteTables"] if not is_main(t)],
        "internet gateway": [g["InternetGatewayId"] for g in ec2.describe_internet_gateways()["InternetGateways"]],
        "endpoint": [
            e["VpcEndpointId"] for e in ec2.describe_vpc_endpoints()["VpcEndpoints"] if e["State"] != "deleted"
        ],
        "flow log": [log["FlowLogId"] for log in ec2.describe_flow_logs()["FlowLogs"]],
        "rule": [
            rule["SecurityGroupRuleId"]
            for rule in ec2.describe_security_group_rules()["SecurityGroupRules"]
            if rule.get("Tags")
        ],
        "profile": [p["InstanceProfileName"] for p in iam.list_instance_profiles()["InstanceProfiles"]],
        "health check": [c["Id"] for c in client("route53", endpoint).list_health_checks()["HealthChecks"]],
        "log group": [g["logGroupName"] for g in client("logs", endpoint).describe_log_groups()["logGroups"]],
    }
    return {*inventory(endpoint), *(f"{kind} {id_}" for kind, ids in listed.items() for id_ in ids)}


def is_main(table: dict[str, Any]) -> bool:
    return any(association.get("Main") for association in table["Associations"])


def of_kind(kind: str, things: set[str]) -> set[str]:
    return {name for name in things if name.startswith(f"{kind} ")}


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def forgotten(made: set[str], state: dict[str, Any]) -> set[str]:
    """What the account holds and no resource of the state names."""
    known = set(texts(state["deployment"]["resources"]))
    return {name for name in made if name.rsplit(" ", 1)[1] not in known}


def test_what_a_killed_update_had_made_is_the_stacks_and_is_not_made_again(course: Course):
    made = course.made_before_the_first_kill

    assert {"vpc", "address", "role", "log", "health", "secret"} <= {name.split()[0] for name in made}
    assert "hubstack: a run was killed while it made " in course.refused.output
    assert made <= course.finished.made
    assert len(of_kind("vpc", course.finished.made)) == 1
    assert len(of_kind("address", course.finished.made)) == 2, "the manager's and the NAT gateway's"


def test_a_providers_error_reaches_the_user_and_leaves_a_state_that_knows_all_that_was_made(course: Course):
    assert course.refused.code != 0
    assert "There is no room for a t3.medium in us-east-1a" in course.refused.output
    assert "Traceback" not in course.refused.output
    assert of_kind("NAT gateway", course.refused.made)
    assert of_kind("instance", course.refused.made) == set()
    assert forgotten(course.refused.made, course.refused.state) == set()


def test_a_host_whose_launch_was_never_answered_is_taken_up_and_no_second_one_is_launched(course: Course):
    assert len(course.launched_before_the_second_kill) == 1
    assert of_kind("instance", course.finished.made) == course.launched_before_the_second_kill


def test_after_all_that_the_stack_is_whole_and_the_account_holds_nothing_beside_it(course: Course):
    assert course.finished.code == 0, course.finished.output[-4000:]
    assert forgotten(course.finished.made, course.finished.state) == set()
    assert not course.finished.state["deployment"].get("pending_operations")
    course.rehearsal.step("preview after refresh", "preview", "--refresh", "--expect-no-changes")


def test_what_somebody_changed_is_reported_and_put_right_and_what_somebody_added_is_not_seen(course: Course):
    rehearsal, ec2 = course.rehearsal, course.ec2
    route53, s3 = client("route53", rehearsal.endpoint), client("s3", rehearsal.endpoint)
    group = named(ec2.describe_security_groups()["SecurityGroups"], f"{CLUSTER}-manager")["GroupId"]
    vpc = named(ec2.describe_vpcs()["Vpcs"], CLUSTER)["VpcId"]
    rules = {
        rule["Tags"][0]["Value"]: rule for rule in rules_of(ec2, group) if rule.get("Tags") and not rule["IsEgress"]
    }
    zone = route53.list_hosted_zones()["HostedZones"][0]["Id"]
    [bucket] = [b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"].startswith(CLUSTER)]
    record = address_record(route53, zone)

    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[SHELL_FOR_ALL])
    ec2.revoke_security_group_ingress(
        GroupId=group, SecurityGroupRuleIds=[rules["everybody-https"]["SecurityGroupRuleId"]]
    )
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "Name"}])
    change = {"Action": "UPSERT", "ResourceRecordSet": {**record, "TTL": 86400}}
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [change]})
    s3.delete_public_access_block(Bucket=bucket)
    code, report = run(rehearsal, "pulumi", "preview", "--refresh", "--expect-no-changes", "--diff", *ON_THE_STACK)

    assert code != 0
    for name in ("manager-from-everybody-https", "vpc:Vpc::", "record:Record::", "bucketPublicAccessBlock"):
        assert name in report, name

    assert run(rehearsal, "pulumi", "up", "--yes", "--skip-preview", "--refresh", *ON_THE_STACK)[0] == 0

    assert {rule["FromPort"] for rule in rules_of(ec2, group) if not rule["IsEgress"]} == {80, 443, 22}
    assert named(ec2.describe_vpcs()["Vpcs"], CLUSTER)["VpcId"] == vpc
    assert address_record(route53, zone)["TTL"] == record["TTL"]
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    rehearsal.step("preview after the repair", "preview", "--refresh", "--expect-no-changes")


def run(rehearsal: Rehearsal, *command: str) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=rehearsal.project, env=rehearsal.environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def named(things: list[dict[str, Any]], name: str) -> dict[str, Any]:
    [found] = [thing for thing in things if {"Key": "Name", "Value": name} in thing.get("Tags", [])]
    return found


def rules_of(ec2: Any, group: str) -> list[dict[str, Any]]:
    filters = [{"Name": "group-id", "Values": [group]}]
    return ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"]


def address_record(route53: Any, zone: str) -> dict[str, Any]:
    [found] = [
        r for r in route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"] if r["Type"] == "A"
    ]
    return found
