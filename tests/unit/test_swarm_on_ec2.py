"""The graph that SwarmCluster registers for hosts on EC2, what the hosts fetch, and what it refuses."""

import base64
import io
import ipaddress
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import EgressProfile, LoginProvider, SwarmCluster, SwarmClusterArgs
from components.aws.account import UNKNOWN_SIZE, InstanceSize
from components.aws.file_system import over_tls_alone
from components.aws.swarm_access import registries, repository_arns
from components.aws.swarm_bundle import node_user_data
from components.aws.swarm_plan import ENGINE_NETWORKS, check_capacity, quota_needs, servers_that_fit
from components.docker.labels import Role
from components.docker.service import Placement, PlatformService
from components.docker.stack_document import IDLE_NETWORK, ConfigFile, Overlay, stack_document
from components.swarm_cluster import check_swarm_cluster
from runtime.boot_script import USER_DATA_LIMIT
from runtime.hub import settings as hub_settings
from runtime.swarm_node.settings import NodeRole, parse_deployment, parse_node
from tests.unit.recording import Answer, Recorder, Registration, record

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
HUB_IMAGE = f"{REGISTRY}/hubstack/hub@sha256:{'1' * 64}"
NOTEBOOK_IMAGE = f"{REGISTRY}/hubstack/notebook@sha256:{'2' * 64}"

ARGS: SwarmClusterArgs = {
    "domain": "hub.example.org",
    "users": [{"name": "ada"}, {"name": "root", "admin": True}],
    "hubImage": HUB_IMAGE,
    "notebookImage": NOTEBOOK_IMAGE,
    "ec2": {"zone": "example.org"},
}
GITHUB = {"provider": LoginProvider.GITHUB, "clientId": "id", "clientSecret": "the-client-secret"}

COMPONENT = "hubstack:index:SwarmCluster"
INSTANCE = "aws:ec2/instance:Instance"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
GROUP = "aws:autoscaling/group:Group"
HOOK = "aws:autoscaling/lifecycleHook:LifecycleHook"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
FILE_SYSTEM = "aws:efs/fileSystem:FileSystem"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
STORED = "aws:s3/bucketObjectv2:BucketObjectv2"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"

SECRET_MARK = "4dabf18193072939515e22adb298388d"
SECRET_VALUE = "1b47061264138c4ac30d75fd1eb44270"


def build(
    answers: Mapping[str, Answer] | None = None, ec2: Mapping[str, object] | None = None, **args: Any
) -> Recorder:
    given: Any = {**ARGS, **args, "ec2": {**ARGS.get("ec2", {}), **(ec2 or {})}}
    return record(lambda: SwarmCluster("lab", given), answers)


@pytest.fixture(scope="module")
def usual() -> Recorder:
    """The graph of the least that somebody has to say."""
    return build()


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def user_data(recorder: Recorder) -> dict[str, str]:
    """Boot scripts by host."""
    hosts = {name: r.properties["userDataBase64"] for name, r in of_type(recorder, INSTANCE).items()}
    hosts |= {name: r.properties["userData"] for name, r in of_type(recorder, TEMPLATE).items()}
    return {name: base64.b64decode(text).decode() for name, text in hosts.items()}


def node_document(script: str) -> dict[str, Any]:
    """What a boot script tells its host of itself, as its own shell reads it."""
    values = script[: script.index("set -euo")]
    told = subprocess.run(["bash", "-c", f'{values}\nprintf "%s" "$NODE"'], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def bundled(recorder: Recorder) -> dict[str, str]:
    [stored] = of_type(recorder, STORED).values()
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(stored.properties["contentBase64"]))) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read().decode() for m in tar.getmembers()}


def stack_file(recorder: Recorder) -> dict[str, Any]:
    return json.loads(bundled(recorder)["stack.json"])


def rules(recorder: Recorder, kind: str) -> list[dict[str, Any]]:
    return [r.properties for r in of_type(recorder, kind).values()]


def test_every_resource_is_a_child_of_the_component(usual: Recorder):
    [component] = [r for r in usual.registrations if r.type == COMPONENT]
    children = [r for r in usual.registrations if r is not component and "Stack" not in r.type]

    assert len(children) > 60
    assert [r.urn for r in children if r.parent != component.urn] == []


def test_nothing_is_made_on_an_engine(usual: Recorder):
    assert [r.type for r in usual.registrations if r.type.startswith("docker:")] == []


def test_the_registered_outputs_are_the_annotated_ones(usual: Recorder):
    [component] = [r for r in usual.registrations if r.type == COMPONENT]

    assert usual.outputs[component.urn] == sorted(SwarmCluster.__annotations__)


def test_the_graph_is_the_same_every_time(usual: Recorder):
    def shape(recorder: Recorder) -> list[tuple[str, str, str]]:
        return sorted(
            (r.type, r.name, json.dumps(r.properties, sort_keys=True))
            for r in recorder.registrations
            if "Stack" not in r.type
        )

    assert shape(build()) == shape(usual)


@pytest.mark.parametrize(("managers", "zones"), [(3, 3), (5, 3), (1, 2), (7, 3)])
def test_managers_stand_in_private_subnets_as_evenly_as_they_can(managers: int, zones: int):
    recorder = build(ec2={"managers": managers, "zones": zones})
    places = [host.properties["subnetId"] for host in of_type(recorder, INSTANCE).values()]
    counts = {place: places.count(place) for place in places}

    assert len(places) == managers
    assert all(place.endswith("-private-id") for place in places)
    assert len(counts) == min(managers, zones)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_no_host_has_a_public_address_a_key_or_an_unencrypted_disk(usual: Recorder):
    [template] = of_type(usual, TEMPLATE).values()
    managers = of_type(usual, INSTANCE).values()

    assert not any(s.properties["mapPublicIpOnLaunch"] for s in of_type(usual, "aws:ec2/subnet:Subnet").values())
    for host in (template, *managers):
        assert not {"associatePublicIpAddress", "networkInterfaces", "keyName"} & set(host.properties)
    assert all(manager.properties["rootBlockDevice"]["encrypted"] is True for manager in managers)
    assert [d["ebs"]["encrypted"] for d in template.properties["blockDeviceMappings"]] == ["true"]


def test_metadata_needs_a_token_and_ends_at_the_host(usual: Recorder):
    for host in (*of_type(usual, INSTANCE).values(), *of_type(usual, TEMPLATE).values()):
        assert host.properties["metadataOptions"]["httpTokens"] == "required"
        assert host.properties["metadataOptions"]["httpPutResponseHopLimit"] == 1


def test_managers_are_not_replaced_by_a_newer_image_or_another_boot_script(usual: Recorder):
    """Replaced together they would take the swarm with them."""
    assert [m.ignore_changes for m in of_type(usual, INSTANCE).values()] == [["ami", "userDataBase64"]] * 3
    assert [t.ignore_changes for t in of_type(usual, TEMPLATE).values()] == [[]], "workers come and go"


def ports(rule: dict[str, Any]) -> tuple[str, int, int]:
    return rule["ipProtocol"], int(rule.get("fromPort", 0)), int(rule.get("toPort", 65535))


@pytest.mark.parametrize("profile", [EgressProfile.CLOSED, EgressProfile.OPEN])
def test_no_rule_lets_anybody_in_on_port_22(profile: EgressProfile):
    let_in = [ports(rule) for rule in rules(build(egressProfile=profile), INGRESS)]

    assert len(let_in) > 5
    assert not [rule for rule in let_in if rule[0] in {"tcp", "-1"} and rule[1] <= 22 <= rule[2]]


def test_the_world_reaches_the_front_alone_on_the_webs_ports(usual: Recorder):
    world = [rule for rule in rules(usual, INGRESS) if "cidrIpv4" in rule or "cidrIpv6" in rule]

    assert {(rule["securityGroupId"], rule["cidrIpv4"], *ports(rule)) for rule in world} == {
        ("lab-front-id", "0.0.0.0/0", "tcp", 80, 80),
        ("lab-front-id", "0.0.0.0/0", "tcp", 443, 443),
    }


def test_the_front_reaches_managers_on_the_tls_port_and_nothing_else(usual: Recorder):
    out = [rule for rule in rules(usual, EGRESS) if rule["securityGroupId"] == "lab-front-id"]
    into = [rule for rule in rules(usual, INGRESS) if rule.get("referencedSecurityGroupId") == "lab-front-id"]

    assert [(rule["referencedSecurityGroupId"], *ports(rule)) for rule in out] == [
        ("lab-manager-id", "tcp", 8443, 8443)
    ]
    assert [(rule["securityGroupId"], *ports(rule)) for rule in into] == [("lab-manager-id", "tcp", 8443, 8443)]


SWARM = {
    ("tcp", 7946, 7946): "lab-member-id",
    ("udp", 7946, 7946): "lab-member-id",
    ("udp", 4789, 4789): "lab-member-id",
    ("50", -1, -1): "lab-member-id",
    ("tcp", 2377, 2377): "lab-manager-id",
}
"""The swarm's own traffic, and who takes it."""


@pytest.mark.parametrize("profile", [EgressProfile.CLOSED, EgressProfile.OPEN])
def test_the_swarms_ports_are_open_between_its_members_alone(profile: EgressProfile):
    recorder = build(egressProfile=profile)
    into = {ports(rule): rule for rule in rules(recorder, INGRESS) if ports(rule) in SWARM}
    out = {
        ports(rule): rule
        for rule in rules(recorder, EGRESS)
        if ports(rule) in SWARM and rule["securityGroupId"] == "lab-member-id"
    }

    assert set(into) == set(out) == set(SWARM)
    for traffic, taker in SWARM.items():
        assert into[traffic]["securityGroupId"] == taker
        assert into[traffic]["referencedSecurityGroupId"] == "lab-member-id"
        assert out[traffic]["referencedSecurityGroupId"] == taker
        assert "cidrIpv4" not in into[traffic]
    # No wider rule lets the same traffic in by another way.
    for rule in rules(recorder, INGRESS):
        protocol, first, last = ports(rule)
        if rule["securityGroupId"] in {"lab-member-id", "lab-manager-id", "lab-worker-id"} and protocol != "50":
            assert first == last


def test_workers_are_in_no_group_that_takes_management_traffic(usual: Recorder):
    [template] = of_type(usual, TEMPLATE).values()

    assert set(template.properties["vpcSecurityGroupIds"]) == {"lab-member-id", "lab-worker-id"}
    for manager in of_type(usual, INSTANCE).values():
        assert set(manager.properties["vpcSecurityGroupIds"]) == {"lab-member-id", "lab-manager-id"}


def test_files_are_reached_by_members_alone(usual: Recorder):
    into = [rule for rule in rules(usual, INGRESS) if rule["securityGroupId"] == "lab-files-id"]
    targets = of_type(usual, "aws:efs/mountTarget:MountTarget")

    assert [(rule["referencedSecurityGroupId"], *ports(rule)) for rule in into] == [
        ("lab-member-id", "tcp", 2049, 2049)
    ]
    assert not [rule for rule in rules(usual, EGRESS) if rule["securityGroupId"] == "lab-files-id"]
    assert len(targets) == 3
    assert all(target.properties["securityGroups"] == ["lab-files-id"] for target in targets.values())
    assert all(target.properties["subnetId"].endswith("-private-id") for target in targets.values())


def test_hosts_reach_the_world_on_the_webs_ports_alone(usual: Recorder):
    out = [rule for rule in rules(usual, EGRESS) if "cidrIpv4" in rule]

    assert {(rule["securityGroupId"], rule["cidrIpv4"], *ports(rule)) for rule in out} == {
        ("lab-member-id", "0.0.0.0/0", "tcp", 80, 80),
        ("lab-member-id", "0.0.0.0/0", "tcp", 443, 443),
    }


def test_the_file_system_is_encrypted_guarded_backed_up_and_kept(usual: Recorder):
    [files] = of_type(usual, FILE_SYSTEM).values()
    [policy] = of_type(usual, "aws:efs/fileSystemPolicy:FileSystemPolicy").values()
    [backup] = of_type(usual, "aws:efs/backupPolicy:BackupPolicy").values()

    assert files.properties["encrypted"] is True
    assert backup.properties["backupPolicy"]["status"] == "ENABLED"
    assert policy.properties["policy"] == over_tls_alone("arn:aws:service:us-east-1:123456789012:lab-files")
    assert files.retain_on_delete
    assert policy.retain_on_delete, "what is kept stays guarded"
    assert backup.retain_on_delete


def test_the_file_system_goes_with_a_stack_that_says_so():
    kinds = (FILE_SYSTEM, "aws:efs/fileSystemPolicy:FileSystemPolicy", "aws:efs/backupPolicy:BackupPolicy")
    recorder = build(dataProtection=False, confirmDataLoss="hub.example.org")

    assert [r.name for r in recorder.registrations if r.retain_on_delete] == []
    assert all(of_type(recorder, kind) for kind in kinds)


def test_nothing_but_what_people_made_outlives_the_stack(usual: Recorder):
    assert {r.type.split(":")[-1] for r in usual.registrations if r.retain_on_delete} == {
        "FileSystem",
        "FileSystemPolicy",
        "BackupPolicy",
    }


def test_the_front_speaks_tls_to_users_and_to_managers(usual: Recorder):
    listeners = {r.properties["port"]: r.properties for r in of_type(usual, "aws:lb/listener:Listener").values()}
    [targets] = of_type(usual, "aws:lb/targetGroup:TargetGroup").values()
    [balancer] = of_type(usual, "aws:lb/loadBalancer:LoadBalancer").values()
    attached = of_type(usual, "aws:lb/targetGroupAttachment:TargetGroupAttachment").values()

    assert set(listeners) == {80, 443}
    assert listeners[443]["protocol"] == "HTTPS"
    assert "TLS13" in listeners[443]["sslPolicy"]
    assert [action["type"] for action in listeners[80]["defaultActions"]] == ["redirect"]
    assert listeners[80]["defaultActions"][0]["redirect"]["protocol"] == "HTTPS"
    assert targets.properties["protocol"] == "HTTPS"
    assert balancer.properties["securityGroups"] == ["lab-front-id"]
    assert all(subnet.endswith("-public-id") for subnet in balancer.properties["subnets"])
    assert {a.properties["targetId"] for a in attached} == {f"lab-manager-{n}-id" for n in (1, 2, 3)}


def test_secrets_are_in_no_user_data_no_bundle_and_no_name():
    recorder = build(login=GITHUB, password="the-users-password")
    open_text = json.dumps(
        [[r.name, r.properties] for r in recorder.registrations if "secretVersion" not in r.type and "aws:" in r.type]
    )
    seen = "\n".join([*user_data(recorder).values(), *bundled(recorder).values(), open_text])

    for secret in ("generated-secret", "the-client-secret", "the-users-password", "ab" * 32):
        assert secret not in seen


def test_the_hubs_secrets_are_one_encrypted_value():
    recorder = build(login=GITHUB)
    [version] = of_type(recorder, "aws:secretsmanager/secretVersion:SecretVersion").values()
    value = version.properties["secretString"]

    assert value[SECRET_MARK] == SECRET_VALUE
    assert sorted(json.loads(value["value"])) == [
        *("admin-password", "client-secret", "cookie-secret", "proxy-token"),
        *("tls-cert", "tls-key", "user-password"),
    ]


def test_boot_scripts_are_sound_shell_and_fit_into_user_data(usual: Recorder, tmp_path: Path):
    for name, script in user_data(usual).items():
        file = tmp_path / f"{name}.sh"
        file.write_text(script)

        assert len(script.encode()) < USER_DATA_LIMIT
        subprocess.run(["bash", "-n", file], check=True)
    assert sorted(user_data(usual)) == ["lab-manager-1", "lab-manager-2", "lab-manager-3", "lab-worker"]


@pytest.mark.parametrize("host", ["lab-manager-1", "lab-worker"])
def test_boot_scripts_pass_shellcheck(usual: Recorder, host: str, tmp_path: Path):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not on the path; `make test` installs it")
    file = tmp_path / "boot.sh"
    file.write_text(user_data(usual)[host])

    told = subprocess.run(["shellcheck", file], capture_output=True, text=True, check=False)

    assert told.stdout == ""


def test_a_value_cannot_leave_its_place_in_the_boot_script():
    script = base64.b64decode(
        node_user_data({"stack": "it's; $(reboot)"}, bundle="s3://b/k", file_system="", region="us-east-1", images=[])
    ).decode()

    assert node_document(script) == {"stack": "it's; $(reboot)"}


def test_only_the_first_manager_founds_the_swarm(usual: Recorder):
    nodes = {name: parse_node(node_document(script)) for name, script in user_data(usual).items()}

    assert [name for name, node in nodes.items() if node.founder] == ["lab-manager-1"]
    assert [name for name, node in nodes.items() if node.role is NodeRole.WORKER] == ["lab-worker"]
    assert all(node.stack == "lab" for node in nodes.values())


def test_a_worker_is_told_of_no_secret_but_its_own_invitation(usual: Recorder):
    scripts = user_data(usual)
    worker, manager = (
        parse_node(node_document(scripts["lab-worker"])),
        parse_node(node_document(scripts["lab-manager-2"])),
    )

    assert set(worker.invitations) == {NodeRole.WORKER}
    assert worker.hub_secret == ""
    assert set(manager.invitations) == {NodeRole.MANAGER, NodeRole.WORKER}
    assert manager.hub_secret.endswith(":lab-hub")
    for secret in (manager.hub_secret, manager.invitations[NodeRole.MANAGER]):
        assert secret not in scripts["lab-worker"]


def test_roles_are_limited_to_the_stacks_own_bundle_images_secrets_and_group(usual: Recorder):
    policies = {
        name: json.loads(r.properties["policy"])["Statement"]
        for name, r in of_type(usual, ROLE_POLICY).items()
        if name != "lab-flows"
    }
    arn = "arn:aws:service:us-east-1:123456789012"
    repositories = [f"arn:aws:ecr:us-east-1:123456789012:repository/hubstack/{name}" for name in ("hub", "notebook")]
    may = {
        name: {action: s["Resource"] for s in statements for action in s["Action"]}
        for name, statements in policies.items()
    }

    assert set(may) == {"lab-manager", "lab-worker"}
    for role in may.values():
        assert role["s3:GetObject"] == [f"{arn}:lab-bundle/swarm.tar.gz"]
        assert role["ecr:BatchGetImage"] == repositories
    assert may["lab-worker"]["secretsmanager:GetSecretValue"] == [f"{arn}:lab-worker-invitation"]
    assert "secretsmanager:PutSecretValue" not in may["lab-worker"]
    assert "autoscaling:CompleteLifecycleAction" not in may["lab-manager"]
    assert may["lab-manager"]["secretsmanager:PutSecretValue"] == [
        f"{arn}:lab-manager-invitation",
        f"{arn}:lab-worker-invitation",
    ]


def test_the_worker_group_has_a_fixed_size_a_hook_and_its_templates_latest_version():
    recorder = build(
        {"aws:ec2/getInstanceType:getInstanceType": lambda _: {"defaultVcpus": 2, "memorySize": 65536}},
        ec2={"workers": 4},
    )
    [group] = of_type(recorder, GROUP).values()
    [hook] = of_type(recorder, HOOK).values()
    [template] = of_type(recorder, TEMPLATE).values()
    worker = parse_node(node_document(user_data(recorder)["lab-worker"]))

    assert {group.properties[key] for key in ("minSize", "maxSize", "desiredCapacity")} == {4}
    assert group.properties["launchTemplate"]["id"] == f"{template.name}-id"
    assert group.properties["launchTemplate"]["version"] not in {"$Default", "1"}
    assert len(group.properties["vpcZoneIdentifiers"]) == 3
    assert all(subnet.endswith("-private-id") for subnet in group.properties["vpcZoneIdentifiers"])
    assert hook.properties["lifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert hook.properties["autoscalingGroupName"] == group.properties["name"] == worker.group
    assert hook.properties["name"] == worker.lifecycle_hook
    assert hook.properties["defaultResult"] == "CONTINUE", "a host that hangs is ended too"


def test_every_image_in_the_stack_file_is_pinned_by_digest(usual: Recorder):
    images = {name: service["image"] for name, service in stack_file(usual)["services"].items()}

    assert images == {
        "hub": HUB_IMAGE,
        "proxy": HUB_IMAGE,
        "tls-proxy": HUB_IMAGE,
        "pre-puller": NOTEBOOK_IMAGE,
    }
    assert all(re.fullmatch(r".+@sha256:[0-9a-f]{64}", image) for image in images.values())


def test_the_bundle_holds_what_the_hosts_run_and_settings_that_they_understand():
    recorder = build(userQuota={"memory": "3G"}, fleetQuota={"servers": 7})
    files = bundled(recorder)
    deployment = parse_deployment(json.loads(files["deployment.json"]))
    environment = stack_file(recorder)["services"]["hub"]["environment"]
    hub = hub_settings.parse_settings(json.loads(files["hub-settings.json"]), environment)

    assert {"runtime/swarm_node/__main__.py", "runtime/home_volumes/plugin.py", "runtime/open_network.py"} <= set(files)
    assert "Caddyfile" in files
    assert deployment.images == {NodeRole.MANAGER: (HUB_IMAGE,), NodeRole.WORKER: (HUB_IMAGE, NOTEBOOK_IMAGE)}
    assert deployment.open_subnet == ""
    assert hub.image == NOTEBOOK_IMAGE
    assert hub.home_driver == deployment.home_driver
    assert (hub.quota.memory_bytes, hub.servers) == (3 * 2**30, 7)
    assert hub.nodes.constraints == ("node.role==worker",)
    assert hub.nodes.reserve_memory
    assert hub.nodes.encrypted
    assert (hub.hub_service, hub.proxy_service) == ("lab_hub", "lab_proxy")


def test_the_hub_keeps_its_database_where_hosts_prepare_the_folder(usual: Recorder):
    deployment = parse_deployment(json.loads(bundled(usual)["deployment.json"]))
    [data] = [v for v in stack_file(usual)["services"]["hub"]["volumes"] if v["target"] == "/srv/hub"]

    assert data["source"] == deployment.hub_data
    assert deployment.hub_data.startswith("/srv/hubstack/")
    assert deployment.home_pool.startswith("/srv/hubstack/")


def test_the_stack_file_names_no_file_that_the_bundle_lacks(usual: Recorder):
    files = bundled(usual)

    for config in stack_file(usual)["configs"].values():
        assert config["file"].removeprefix("./") in files


def test_the_bundle_needs_nothing_of_the_project_beside_it(usual: Recorder, tmp_path: Path):
    for name, text in bundled(usual).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    told = subprocess.run(
        [sys.executable, "-c", "import runtime.swarm_node.__main__ as m; print(m.__file__)"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.stderr == ""
    assert told.stdout.startswith(str(tmp_path))


def test_a_closed_stack_has_no_guard_and_its_workers_no_way_out_of_their_own(usual: Recorder):
    assert "egress-guard" not in stack_file(usual)["services"]
    assert not [rule for rule in rules(usual, EGRESS) if rule["securityGroupId"] == "lab-worker-id"]


def test_an_open_profile_brings_the_guard_to_workers_and_public_ranges_to_their_group():
    recorder = build(egressProfile=EgressProfile.OPEN)
    guard = stack_file(recorder)["services"]["egress-guard"]
    deployment = parse_deployment(json.loads(bundled(recorder)["deployment.json"]))
    reached = [
        ipaddress.IPv4Network(rule["cidrIpv4"])
        for rule in rules(recorder, EGRESS)
        if rule["securityGroupId"] == "lab-worker-id"
    ]

    assert guard["deploy"]["placement"]["constraints"] == ["node.role==worker"]
    assert guard["deploy"]["mode"] == "global"
    assert guard["cap_add"] == ["CAP_NET_ADMIN"]
    assert list(guard["networks"]) == ["host"]
    assert deployment.open_subnet in guard["command"]
    assert 0 < len(reached) <= 60
    for address in ("169.254.169.254", "10.10.0.1", "10.213.0.1", "192.168.0.1", "100.64.0.1"):
        assert not any(ipaddress.IPv4Address(address) in cidr for cidr in reached)
    assert any(ipaddress.IPv4Address("8.8.8.8") in cidr for cidr in reached)


def test_an_oauth_login_gives_the_hub_alone_the_way_out_and_the_secret(usual: Recorder):
    before, after = stack_file(usual)["services"], stack_file(build(login=GITHUB))["services"]

    def with_network(services: dict[str, Any]) -> set[str]:
        return {name for name, service in services.items() if "front" in service["networks"]}

    def with_secret(services: dict[str, Any]) -> set[str]:
        return {
            name for name, service in services.items() if "client-secret" in {s["source"] for s in service["secrets"]}
        }

    assert with_network(before) == {"tls-proxy"}
    assert with_secret(before) == set()
    assert with_network(after) == {"tls-proxy", "hub"}
    assert with_secret(after) == {"hub"}


def test_the_hubs_rights_on_the_engine_are_the_hubs_alone(usual: Recorder):
    services = stack_file(usual)["services"]

    assert [name for name, service in services.items() if "docker.sock" in json.dumps(service)] == ["hub"]
    assert [name for name, service in services.items() if "ports" in service] == ["tls-proxy"]
    assert all(service["cap_drop"] == ["ALL"] for service in services.values())
    assert all(service["read_only"] is True for service in services.values())


def test_networks_of_the_stack_file_are_internal_but_the_front_and_encrypted_where_secrets_travel(usual: Recorder):
    networks = stack_file(usual)["networks"]

    assert {name for name, network in networks.items() if not network["internal"]} == {"front"}
    assert {name for name, network in networks.items() if network["driver_opts"].get("encrypted") == "true"} == {
        "control",
        "edge",
    }


def test_encryption_between_hosts_is_left_to_the_hosts_by_choice():
    recorder = build(ec2={"encrypted": False})
    settings = json.loads(bundled(recorder)["hub-settings.json"])

    assert not any(network.get("driver_opts") for network in stack_file(recorder)["networks"].values())
    assert settings["nodes"]["encrypted"] is False


def test_interface_endpoints_are_made_by_choice(usual: Recorder):
    assert [r.properties["vpcEndpointType"] for r in of_type(usual, ENDPOINT).values()] == ["Gateway"]

    recorder = build(ec2={"interfaceEndpoints": ["secretsmanager", "ecr.dkr"]})
    made = [
        r.properties for r in of_type(recorder, ENDPOINT).values() if r.properties["vpcEndpointType"] == "Interface"
    ]

    assert sorted(endpoint["serviceName"] for endpoint in made) == [
        "com.amazonaws.us-east-1.ecr.dkr",
        "com.amazonaws.us-east-1.secretsmanager",
    ]
    assert all(endpoint["privateDnsEnabled"] for endpoint in made)


@pytest.mark.parametrize(("chosen", "gateways"), [(False, 1), (True, 3)])
def test_each_zone_has_a_nat_gateway_by_choice(chosen: bool, gateways: int):
    recorder = build(ec2={"natPerZone": chosen})

    assert len(of_type(recorder, "aws:ec2/natGateway:NatGateway")) == gateways


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


def test_the_engines_own_networks_are_those_that_hosts_are_told(usual: Recorder):
    for script in user_data(usual).values():
        assert f'"base": "{ENGINE_NETWORKS}"' in script


def test_every_mistake_is_reported_at_once():
    given: Any = {
        **ARGS,
        "hubImage": "",
        "ec2": {"zone": "example.com", "zones": 1, "managers": 2, "workers": 0, "cidr": "10.213.0.0/16"},
    }

    assert {error["property_path"] for error in check_swarm_cluster(given)} == {
        *("domain", "hubImage", "zones", "managers", "workers", "cidr")
    }


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


@pytest.mark.parametrize(
    ("image", "arns"),
    [
        (HUB_IMAGE, ["arn:aws:ecr:us-east-1:123456789012:repository/hubstack/hub"]),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/hub:v1@sha256:ab", ["arn:aws:ecr:eu-west-1:1:repository/hub"]),
        ("ghcr.io/a/b@sha256:ab", []),
        ("hub@sha256:ab", []),
        ("localhost:5000/hub@sha256:ab", []),
        ("", []),
    ],
)
def test_rights_are_needed_for_repositories_of_ecr_alone(image: str, arns: list[str]):
    assert repository_arns([image, image], "aws") == arns
    assert registries([image, image]) == ([image.partition("/")[0]] if arns else [])


def test_the_partition_is_the_accounts_own():
    image = "1.dkr.ecr.cn-north-1.amazonaws.com.cn/hub@sha256:ab"

    assert repository_arns([image], "aws-cn") == ["arn:aws-cn:ecr:cn-north-1:1:repository/hub"]


def test_a_host_renews_a_registrys_token_where_one_is_needed():
    def helpers(images: list[str]) -> str:
        text = node_user_data({}, bundle="b", file_system="", region="us-east-1", images=images)
        return base64.b64decode(text).decode().split("readonly REGISTRY_CONFIG=", 1)[1].splitlines()[0]

    assert f'{{"credHelpers": {{"{REGISTRY}": "ecr-login"}}}}' in helpers([HUB_IMAGE])
    assert '{"credHelpers": {}}' in helpers(["ghcr.io/a/b@sha256:ab"])


def test_user_data_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the user data has"):
        node_user_data({"stack": "x" * USER_DATA_LIMIT}, bundle="b", file_system="", region="r", images=[])


def test_the_file_system_refuses_plain_transport_to_everybody():
    statements = json.loads(over_tls_alone("arn:fs"))["Statement"]
    [refused] = [s for s in statements if s["Effect"] == "Deny"]
    [allowed] = [s for s in statements if s["Effect"] == "Allow"]

    assert refused == {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": ["*"],
        "Resource": ["arn:fs"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    assert allowed["Condition"] == {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}}
    assert all(action.startswith("elasticfilesystem:Client") for action in allowed["Action"])


SPEC: PlatformService = {
    "role": Role.PROXY,
    "command": ["run"],
    "cpu": 0.5,
    "memory": "64M",
    "placement": Placement.MANAGERS,
}
NETWORKS: dict[str, Overlay] = {IDLE_NETWORK: {"subnet": "10.0.0.0/24", "internal": True}}


def documented(spec: Mapping[str, Any], text: str = "text") -> dict[str, Any]:
    configs: dict[str, ConfigFile] = {"file": {"file": "File", "text": text}}
    services: Any = {"one": ({**SPEC, **spec}, HUB_IMAGE)}
    return stack_document("lab", services, networks=NETWORKS, configs=configs, hub_node="lab")


@pytest.mark.parametrize(
    ("placement", "mode", "constraints"),
    [
        (Placement.HUB_NODE, "replicated", ["node.labels.hubstack.hub==lab"]),
        (Placement.MANAGERS, "global", ["node.role==manager"]),
        (Placement.SERVER_NODES, "global", ["node.role==worker"]),
        (Placement.EVERY_NODE, "global", []),
    ],
)
def test_a_placement_is_a_mode_and_constraints(placement: Placement, mode: str, constraints: list[str]):
    deploy = documented({"placement": placement})["services"]["one"]["deploy"]

    assert deploy["mode"] == mode
    assert deploy["placement"]["constraints"] == constraints
    assert deploy.get("replicas") == (1 if mode == "replicated" else None)


def test_a_service_without_networks_is_on_the_idle_one_and_not_on_the_clients_default():
    document = documented({})

    assert list(document["services"]["one"]["networks"]) == [IDLE_NETWORK]
    assert document["networks"][IDLE_NETWORK]["internal"] is True
    assert "default" not in document["networks"]


def test_secrets_are_external_and_named_after_their_version():
    document = documented({"secrets": ["token", "key"]})

    assert document["secrets"] == {
        name: {"external": True, "name": f"lab-{name}-${{SECRETS_VERSION}}"} for name in ("key", "token")
    }
    assert [secret["mode"] for secret in document["services"]["one"]["secrets"]] == [0o400, 0o400]


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_configurations_name_changes_with_its_text_and_only_then(one: str, other: str):
    names = [documented({}, text)["configs"]["file"]["name"] for text in (one, other)]

    assert (names[0] == names[1]) == (one == other)
    assert all(re.fullmatch(r"lab-file-[0-9a-f]{12}", name) for name in names)


def test_only_a_service_on_the_hosts_network_brings_it_into_the_file():
    assert "host" not in documented({})["networks"]
    assert documented({"networks": {"host": []}})["networks"]["host"] == {"external": True, "name": "host"}


def test_limits_are_what_the_client_reads():
    limits = documented({"cpu": 0.05, "memory": "1.5G"})["services"]["one"]["deploy"]["resources"]["limits"]

    assert limits == {"cpus": "0.05", "memory": str(3 * 2**29)}
