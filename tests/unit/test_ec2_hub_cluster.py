"""The graph that Ec2HubCluster registers, and what it refuses."""

import base64
import functools
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import Ec2HubCluster, Ec2HubClusterArgs, EgressProfile, Login, LoginProvider
from components.aws.boot import archive, host_script
from components.aws.firewall import egress_rules
from components.aws.subnets import plan_subnets
from components.ec2_hub_cluster import check_ec2_hub_cluster, hub_settings
from components.egress import NEVER_REACHED, public_ranges
from runtime.boot_script import boot_script
from runtime.ec2_spawner.settings import parse_settings
from tests.stacks import ROOT
from tests.unit.bundles import printed_beside_nothing
from tests.unit.recording import Answer, Recorder, Registration, record

ARGS: Ec2HubClusterArgs = {
    "domain": "hub.example.org",
    "zone": "example.org",
    "alarmEmail": "owner@example.org",
    "users": [{"name": "ada"}, {"name": "root", "admin": True}],
}


def build(answers: Mapping[str, Answer] | None = None, **args: object) -> Recorder:
    return record(lambda: Ec2HubCluster("lab", {**ARGS, **args}), answers)  # pyright: ignore[reportArgumentType]


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def test_every_resource_is_a_child_of_the_component():
    recorder = build()
    [component] = [r for r in recorder.registrations if r.type == "hubstack:index:Ec2HubCluster"]

    assert all(
        r.parent == component.urn for r in recorder.registrations if r is not component and "Stack" not in r.type
    )


def test_users_hosts_have_no_role_no_key_and_no_public_address():
    [template] = of_type(build(), "aws:ec2/launchTemplate:LaunchTemplate").values()
    subnets = of_type(build(), "aws:ec2/subnet:Subnet").values()

    assert not {"iamInstanceProfile", "keyName", "networkInterfaces"} & set(template.properties)
    assert not any(subnet.properties["mapPublicIpOnLaunch"] for subnet in subnets)


def test_metadata_needs_a_token_and_ends_at_the_host():
    recorder = build()
    [template] = of_type(recorder, "aws:ec2/launchTemplate:LaunchTemplate").values()
    [manager] = of_type(recorder, "aws:ec2/instance:Instance").values()

    for host in (template, manager):
        assert host.properties["metadataOptions"]["httpTokens"] == "required"
        assert host.properties["metadataOptions"]["httpPutResponseHopLimit"] == 1


def test_nobody_reaches_port_22_and_the_world_only_the_front():
    rules = of_type(build(), "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").values()
    world = [(r.properties["fromPort"], r.properties["toPort"]) for r in rules if r.properties.get("cidrIpv4")]

    assert sorted(world) == [(80, 80), (443, 443)]
    assert all(r.properties["ipProtocol"] == "tcp" for r in rules)
    assert not any(r.properties["fromPort"] <= 22 <= r.properties["toPort"] for r in rules)


def test_groups_have_no_rules_of_their_own_so_that_they_go_in_any_order():
    groups = of_type(build(), "aws:ec2/securityGroup:SecurityGroup")

    assert sorted(groups) == ["lab-manager", "lab-manager2", "lab-worker"]
    assert not any({"ingress", "egress"} & set(group.properties) for group in groups.values())


def test_closed_servers_reach_the_managers_api_and_nothing_else():
    rules = of_type(build(), "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule").values()
    worker = [r.properties for r in rules if r.properties["securityGroupId"] == "lab-worker-id"]

    assert sorted(rule["fromPort"] for rule in worker) == [8081, 8888]
    assert {rule["referencedSecurityGroupId"] for rule in worker} == {"lab-manager2-id"}


def test_open_servers_reach_public_ranges_within_awss_limit_of_rules():
    rules = of_type(build(egressProfile=EgressProfile.OPEN), "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    worker = [r.properties for r in rules.values() if r.properties["securityGroupId"] == "lab-worker-id"]

    assert len(worker) <= 60
    assert "0.0.0.0/0" not in {rule.get("cidrIpv4") for rule in worker}


@given(st.sampled_from([r for r in NEVER_REACHED if ":" not in r]), st.data())
def test_public_ranges_hold_no_address_that_is_never_reached(excluded: str, data: st.DataObject):
    import ipaddress

    network = ipaddress.IPv4Network(excluded)
    address = ipaddress.IPv4Address(data.draw(st.integers(int(network[0]), int(network[-1]))))

    assert not any(address in ipaddress.IPv4Network(cidr) for cidr in public_ranges())


def test_public_ranges_leave_no_public_address_out():
    import ipaddress

    total = sum(ipaddress.IPv4Network(cidr).num_addresses for cidr in public_ranges(["10.0.0.0/8", "10.1.0.0/16"]))

    assert total == 2**32 - 2**24
    assert egress_rules(EgressProfile.CLOSED) == ()


def test_disks_are_encrypted_and_the_database_is_retained_unless_the_stack_says_otherwise():
    recorder = build()
    [template] = of_type(recorder, "aws:ec2/launchTemplate:LaunchTemplate").values()
    [manager] = of_type(recorder, "aws:ec2/instance:Instance").values()
    [data] = of_type(recorder, "aws:ebs/volume:Volume").values()
    [loose] = of_type(build(dataProtection=False, confirmDataLoss="hub.example.org"), "aws:ebs/volume:Volume").values()

    assert data.properties["encrypted"] is True
    assert manager.properties["rootBlockDevice"]["encrypted"] is True
    assert template.properties["blockDeviceMappings"][0]["ebs"]["encrypted"] == "true"
    assert data.retain_on_delete
    assert not loose.retain_on_delete


def test_secrets_are_in_no_user_data_and_in_no_bundle():
    recorder = build(login={"provider": LoginProvider.GITHUB, "clientId": "id", "clientSecret": "the-client-secret"})
    [version] = of_type(recorder, "aws:secretsmanager/secretVersion:SecretVersion").values()
    [manager] = of_type(recorder, "aws:ec2/instance:Instance").values()
    [stored] = of_type(recorder, "aws:s3/bucketObjectv2:BucketObjectv2").values()
    boot = base64.b64decode(manager.properties["userDataBase64"]).decode()

    assert version.properties["secretString"]["4dabf18193072939515e22adb298388d"] == "1b47061264138c4ac30d75fd1eb44270"
    assert "the-client-secret" in version.properties["secretString"]["value"]
    for secret in ("generated-secret", "the-client-secret", "ab" * 32):
        assert secret not in boot
        assert secret not in str(bundled(stored))


def bundled(stored: Registration) -> dict[str, str]:
    content = base64.b64decode(stored.properties["contentBase64"])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read().decode() for m in tar.getmembers()}


def test_the_bundle_holds_what_the_manager_runs_and_settings_that_it_understands():
    [stored] = of_type(build(), "aws:s3/bucketObjectv2:BucketObjectv2").values()
    files = bundled(stored)
    environment = {"LAUNCH_TEMPLATE": "lt-1", "SUBNETS": "us-east-1a=subnet-1,us-east-1b=subnet-2"}
    settings = parse_settings(json.loads(files["hub-settings.json"]), environment)

    assert settings.cluster == "lab"
    assert settings.subnets == {"us-east-1a": "subnet-1", "us-east-1b": "subnet-2"}
    assert settings.home_gigabytes == 2
    assert settings.login["callback"] == "https://hub.example.org/hub/oauth_callback"
    assert {
        "runtime/ec2_spawner/jupyterhub_config.py",
        "runtime/ec2_spawner/requirements.lock",
        "runtime/hub/login.py",
    } <= set(files)


def test_the_bundle_needs_nothing_of_the_project_beside_it(tmp_path: Any):
    [stored] = of_type(build(), "aws:s3/bucketObjectv2:BucketObjectv2").values()
    for name, text in bundled(stored).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    program = "import runtime.ec2_spawner.spawner, runtime.hub.login, runtime.hub.culling as c; print(c.__file__)"
    told = printed_beside_nothing(tmp_path, program)

    assert told.startswith(str(tmp_path))


def test_the_same_files_make_the_same_bundle():
    assert archive({"a": b"1", "b": b"2"}) == archive({"b": b"2", "a": b"1"})


BOOT_SCRIPTS = {
    "manager": functools.partial(host_script, "manager.sh"),
    "worker": functools.partial(boot_script, (ROOT / "runtime/ec2_spawner/worker.sh").read_text()),
}


@pytest.mark.parametrize("host", BOOT_SCRIPTS)
def test_a_value_cannot_leave_its_place_in_the_boot_script(host: str):
    script = BOOT_SCRIPTS[host]({"DOMAIN": "it's; $(reboot)", "REGION": "us-east-1"})
    values = script[: script.index("set -euo")]

    told = subprocess.run(
        ["bash", "-c", f'{values}\nprintf "%s" "$DOMAIN"'], capture_output=True, text=True, check=True
    )

    assert told.stdout == "it's; $(reboot)"


def test_the_graph_is_the_same_every_time():
    first, second = build().registrations, build().registrations

    assert {r.urn: r.properties for r in first} == {r.urn: r.properties for r in second}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"domain": "hub"}, "'hub' is no host name"),
        ({"domain": "hub.example.com"}, "hub.example.com is not in the hosted zone 'example.org'"),
        ({"cidr": "8.8.0.0/16"}, "no private range from /16 to /20"),
        ({"cidr": "10.0.0.0/24"}, "no private range from /16 to /20"),
        ({"zones": 9}, "9 zones; 1 to 4"),
        (
            {"cidr": "10.0.0.0/20", "zones": 3, "fleetQuota": {"servers": 3000}},
            "hold 1521 hosts; 3000 servers are allowed",
        ),
        ({"workerType": "small"}, "'small' is no instance type"),
        ({"dataProtection": False}, "destroy deletes every home"),
        ({"dataProtection": False, "confirmDataLoss": "yes"}, "set this to the domain, hub.example.org"),
        ({"image": "debian"}, "'debian' is no id of a machine image"),
        ({"users": [{"name": "a"}, {"name": "a"}]}, "a is listed more than once"),
        ({"users": []}, "nobody could log in"),
        ({"monthlyBudget": 10}, "needs the address"),
        ({"login": {"provider": "github"}}, "github needs the OAuth application's clientId"),
        (
            {"login": {"provider": "oidc", "clientId": "i", "clientSecret": "s", "issuer": "http://x"}},
            "no https address",
        ),
        ({"userQuota": {"idle": 5}}, "5 is below 60 seconds"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(args: dict[str, object], message: str):
    reasons = [error["reason"] for error in check_ec2_hub_cluster({**ARGS, **args})]  # pyright: ignore[reportArgumentType]

    assert any(message in reason for reason in reasons), reasons


def test_what_the_account_lacks_is_listed_at_once_before_a_child_is_registered():
    def no_zone(_: Mapping[str, Any]) -> dict[str, Any]:
        raise RuntimeError("no matching Route 53 Hosted Zone found")

    answers: dict[str, Answer] = {
        "aws:route53/getZone:getZone": no_zone,
        "aws:servicequotas/getServiceQuota:getServiceQuota": lambda given: {
            "value": 5 if given["quotaCode"] == "L-1216C47A" else 256
        },
        "aws:index/getAvailabilityZones:getAvailabilityZones": lambda _: {"names": ["us-east-1a"]},
    }
    with pytest.raises(pulumi.InputPropertiesError) as raised:
        build(answers)

    told = "\n".join(error["reason"] for error in raised.value.errors or [])
    assert "no matching Route 53 Hosted Zone found" in told
    assert "(ec2 L-1216C47A): the account has 5, this stack needs up to 42" in told
    assert "the region has 1 zones, not 2" in told


@given(st.integers(16, 20), st.integers(1, 4))
def test_subnets_lie_in_the_range_and_never_overlap(prefix: int, zones: int):
    import ipaddress

    plan = plan_subnets(f"10.32.0.0/{prefix}", zones)
    networks = [ipaddress.IPv4Network(s) for s in (*plan.public, *plan.private)]

    assert len(plan.public) == len(plan.private) == zones
    assert all(network.subnet_of(ipaddress.IPv4Network(plan.vpc)) for network in networks)
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[i + 1 :])


def test_one_zone_is_divided_as_in_the_seed():
    plan = plan_subnets("10.10.0.0/16", 1)

    assert (plan.public, plan.private) == (("10.10.0.0/24",), ("10.10.128.0/17",))


def test_the_manager_is_told_its_template_and_subnets():
    [manager] = of_type(build(), "aws:ec2/instance:Instance").values()
    boot = base64.b64decode(manager.properties["userDataBase64"]).decode()

    assert "readonly LAUNCH_TEMPLATE=lab-worker-id\n" in boot
    assert "SUBNETS=us-east-1a=lab-us-east-1a-private-id,us-east-1b=lab-us-east-1b-private-id\n" in boot


def test_settings_name_no_secret():
    login: Login = {"provider": LoginProvider.GITHUB, "clientId": "i", "clientSecret": "s3cr3t"}

    assert "s3cr3t" not in hub_settings("lab", {**ARGS, "login": login})
