"""The boot script of a pool's host on EC2 and its program, run for real: a host with systemd and an engine of its own.

AWS is simulated; the images, which a host pulls from a registry, are handed to its engine.
"""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any, cast

import docker
import pytest
import requests

from components.aws.host_farewell import LEAVE_COMMAND
from components.aws.tmpnb_bundle import host_user_data, pool_bundle
from components.docker.tmpnb_node import node_group
from components.pool_plan import node_settings
from runtime.container_group import GroupSpec
from tests.e2e.ec2_hosts import ENGINE_PACKAGES, METADATA, METADATA_SAYS, REGION, Machine, Region, needs_hosts, region
from tests.e2e.test_ec2_boot import allow_out, reaches
from tests.e2e.test_swarm_nodes import certificate
from tests.e2e.tmpnb_pool import new_session
from tests.engine.project_images import image, notebook_image
from toolchain.aws_simulator import client

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

NODE, BUCKET, KEY = "pool-tmp05", "bundles", "tmp05.tar.gz"
TOKENS = {"proxy-token": "the-proxys-token-of-this-test", "admin-token": "the-administrators-token-of-this-test"}
DRAIN_SECONDS = 3
CLOSED_SECONDS = 30
"""Most that visitors are kept out when the TLS proxy ends: a round of the host's program, and a start."""


class Node:
    """The node on its host."""

    def __init__(self, region: Region, images: dict[str, str]) -> None:
        self.region, self.images, self.instance = region, images, ""

    @property
    def host(self) -> Machine:
        return self.region.machines[self.instance]

    def update(self, capacity: int, *, expects_too_much: bool = False) -> None:
        """What an update of the stack does.

        Args:
            capacity: servers of the node.
            expects_too_much: whether its proof wants an answer of somebody who gives none. Default False.
        """
        [node] = node_settings(
            "pool",
            {
                "nodes": [{"name": "tmp05", "port": 443, "capacity": capacity}],
                "drainSeconds": DRAIN_SECONDS,
                "userQuota": {"cpu": 1, "memory": "512M", "processes": 128, "home": "64M", "tmp": "32M"},
            },
        )
        group = node_group(node)
        if expects_too_much:
            silent = {"kind": "tcp", "host": "192.0.2.1", "port": 9, "why": "this test"}
            group = cast("GroupSpec", {**group, "probe": {**group.get("probe", {}), "required": [silent]}})
        content = pool_bundle(group, self.images)
        client("s3", self.region.endpoint).put_object(Bucket=BUCKET, Key=KEY, Body=content)

    def stats(self) -> dict[str, Any]:
        try:
            return new_session().get(f"https://{self.host.address}/api/stats", timeout=5).json()
        except (requests.RequestException, KeyError):
            return {}

    def told(self, text: str) -> int:
        """How often the host's program said something."""
        return self.host.run("journalctl", "--no-pager", "-u", "hubstack-host", check=False).count(text)

    def proofs(self) -> int:
        """How often the host's program said that all works, the proof included."""
        return self.told(f"{NODE} works")

    def containers(self) -> set[str]:
        """Names of the platform's containers that run on the host."""
        names = self.host.run("docker", "ps", "--format={{.Names}}", check=False).split()
        return {name.removeprefix(f"{NODE}-") for name in names}

    def visit(self) -> requests.Response:
        return new_session().get(f"https://{self.host.address}/", timeout=30, allow_redirects=False)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    needs_hosts()
    tags = {"node": image("tmpnb-node"), "notebook": notebook_image()}
    engine = docker.APIClient(version="auto")
    images = {name: engine.inspect_image(tag)["Id"] for name, tag in tags.items()}
    # An engine's layers cannot lie on layers.
    with region(ENGINE_PACKAGES, ["--volume=/var/lib/docker"]) as made:
        node = Node(made, images)
        client("s3", made.endpoint).create_bucket(Bucket=BUCKET)
        node.update(capacity=1)
        node.instance = launch(made, {**TOKENS, **certificate(tmp_path_factory.mktemp("node"))})
        made.wait_until("the host starts", lambda: node.instance in made.machines and node.host.boot)
        made.wait_until("the host boots", lambda: node.host.boot and node.host.boot.poll() is not None, seconds=600)
        hand_over(list(tags.values()), node.host)
        made.wait_until("a server waits", lambda: node.stats().get("available") == 1)
        yield node


def launch(region: Region, secrets: dict[str, str]) -> str:
    """Make in the account what `TmpnbHost` makes, and launch the host; returns its id."""
    ec2 = region.ec2
    prefix = region.gateway.rpartition(".0.")[0]
    vpc = ec2.create_vpc(CidrBlock=f"{prefix}.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"{prefix}.64.0/24")["Subnet"]["SubnetId"]
    web = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    allow_out(ec2, web, [(443, None), (80, None)])
    client("iam", region.endpoint).create_instance_profile(InstanceProfileName="node")
    secret = client("secretsmanager", region.endpoint).create_secret(Name="node", SecretString=json.dumps(secrets))
    script = host_user_data(bucket=BUCKET, key=KEY, secret=secret["ARN"], region=REGION, session_manager=False)
    return ec2.run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        SecurityGroupIds=[web],
        IamInstanceProfile={"Name": "node"},
        UserData=base64.b64decode(script).decode(),
    )["Instances"][0]["InstanceId"]


def images_of(node: Node) -> set[str]:
    """The images on the host's engine, by the short names of the bundle; others by their ids."""
    named = {identifier: name for name, identifier in node.images.items()}
    there = node.host.run("docker", "images", "--no-trunc", "--format={{.ID}}").split()
    return {named.get(identifier, identifier) for identifier in there}


def hand_over(tags: list[str], host: Machine) -> None:
    """Give the host's engine images of this machine's."""
    with subprocess.Popen(["docker", "save", *tags], stdout=subprocess.PIPE) as saved:
        load = ["docker", "exec", "--interactive", host.container, "docker", "load"]
        subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True, timeout=300)


def test_a_visitor_gets_a_server_of_a_host_that_booted_by_itself(node: Node):
    node.region.wait_until("servers are proved to reach nothing", lambda: node.proofs() == 1)

    visited = node.visit()

    assert (visited.status_code, visited.headers["Location"][:6]) == (302, "/user/")


def test_containers_cannot_reach_the_metadata_service_and_the_host_can(node: Node):
    ask = f"import urllib.request; print(urllib.request.urlopen('http://{METADATA}', timeout=5).read().decode())"

    assert node.host.run("python3", "-c", ask).strip() == METADATA_SAYS
    told = node.host.run("docker", "exec", f"{NODE}-proxy", "python3", "-c", reaches(METADATA, 80))
    assert told.strip() != "reached"


def test_secrets_are_in_no_file_of_the_host_but_the_containers_own(node: Node):
    places = ["/etc", "/root", "/run", "/usr/local", "/var/lib/user-data", "/var/log"]
    for token in TOKENS.values():
        assert node.host.run("grep", "-rlsF", token, *places, check=False) == ""


def test_another_bundle_is_deployed_without_another_host(node: Node):
    guard = node.host.run("docker", "inspect", "--format={{.Id}}", f"{NODE}-egress-guard")
    node.host.run("sh", "-c", "tar -c --files-from /dev/null | docker import - earlier:1")
    node.update(capacity=2)
    node.region.wait_until("the node has two servers", lambda: node.stats().get("capacity") == 2)
    node.region.wait_until("servers are proved to reach nothing", lambda: node.proofs() == 2)

    assert node.host.run("docker", "inspect", "--format={{.Id}}", f"{NODE}-egress-guard") == guard
    node.region.wait_until("an image that no bundle names is gone", lambda: images_of(node) == {"node", "notebook"})


def test_after_a_reboot_the_node_is_back_and_proved(node: Node):
    node.region.ec2.stop_instances(InstanceIds=[node.instance])
    node.region.wait_until("the node is away", lambda: not node.stats())
    node.region.ec2.start_instances(InstanceIds=[node.instance])
    node.region.wait_until("servers wait", lambda: node.stats().get("available"))
    node.region.wait_until("servers are proved to reach nothing", lambda: node.proofs() == 3)

    assert "-d 169.254.0.0/16 -j DROP" in node.host.run("iptables", "-S", "DOCKER-USER")


def test_a_tls_proxy_that_ends_is_back_within_seconds(node: Node):
    node.host.run("docker", "kill", f"{NODE}-tls-proxy")
    start = time.monotonic()
    node.region.wait_until("visitors are let in", node.stats)

    assert time.monotonic() - start < CLOSED_SECONDS


def test_where_servers_fail_the_proof_nobody_is_let_in_also_after_a_reboot(node: Node):
    node.update(capacity=2, expects_too_much=True)
    node.region.wait_until("the proof fails", lambda: node.told("192.0.2.1") and not node.stats())
    assert "tls-proxy" not in node.containers()

    node.region.ec2.stop_instances(InstanceIds=[node.instance])
    node.region.wait_until("the host is away", lambda: not node.containers())
    node.region.ec2.start_instances(InstanceIds=[node.instance])
    node.region.wait_until("the host is back", lambda: node.told("no more until there is another bundle (") == 1)
    node.region.wait_until("the rest runs", lambda: "service" in node.containers())
    assert "tls-proxy" not in node.containers()

    node.update(capacity=1)
    node.region.wait_until("another bundle lets visitors in", lambda: node.stats().get("available"))


def test_a_host_that_is_told_to_leave_drains_and_keeps_nothing(node: Node):
    assert node.visit().status_code == 302
    start = time.monotonic()

    node.host.run(LEAVE_COMMAND)

    assert time.monotonic() - start >= DRAIN_SECONDS, "its users got their time"
    assert node.host.run("docker", "ps", "--all", "--quiet") == ""
    assert node.host.run("docker", "volume", "ls", "--quiet") == ""
    assert node.host.run("systemctl", "is-active", "hubstack-host", check=False).strip() == "inactive"
    assert node.host.run("systemctl", "is-active", "hubstack-return.timer").strip() == "active"


def test_a_host_that_has_left_and_is_not_taken_away_comes_back_and_serves(node: Node):
    folder = "/etc/systemd/system/hubstack-return.timer.d"
    soon = f"mkdir -p {folder} && printf '[Timer]\\nOnActiveSec=\\nOnActiveSec=2s\\n' >{folder}/soon.conf"
    node.host.run("bash", "-c", f"{soon} && systemctl daemon-reload && systemctl restart hubstack-return.timer")

    node.region.wait_until("servers wait", lambda: node.stats().get("available"))
    assert node.visit().status_code == 302


def test_a_host_whose_removal_breaks_off_again_comes_back_again(node: Node):
    node.host.run(LEAVE_COMMAND)
    assert not node.stats()

    node.region.wait_until("servers wait", lambda: node.stats().get("available"))
