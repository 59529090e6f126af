"""The whole life of a stack on a simulated AWS, with the real engine and the real provider."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from toolchain.aws_simulator import (
    CREDENTIALS,
    NOT_SIMULATED,
    REGION,
    client,
    provider_configuration,
    put_images,
    simulated_aws,
)
from toolchain.progress import say

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (".git", ".venv", "build", ".pulumi-state", "__pycache__", "tests", ".*_cache")
LAST_LINES = 60
LOG = ROOT / "build" / "rehearsal.log"
ADDED = ROOT / "toolchain" / "rehearsed"
"""What puts a stack that usually goes elsewhere on AWS, a file for each."""


def configuration(stack: str) -> dict[str, Any]:
    """The stack's configuration on AWS: its own and, if that names no zone, what `toolchain/rehearsed` adds to it.

    Raises:
        OSError: there is no such stack.
    """
    own = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    added = ADDED / f"{stack}.yaml"
    if hosted_zone(own) or not added.exists():
        return own
    return merged(own, yaml.safe_load(added.read_text())["config"])


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both configurations; of an object that both have, the keys of both."""
    both = {key: {**one[key], **other[key]} for key in {*one} & {*other} if isinstance(one[key], dict)}
    return {**one, **other, **both}


def texts_in(value: object) -> Iterator[str]:
    """Every text in a configuration, at whatever depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | Sequence):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(part)


def hosted_zone(config: Mapping[str, Any]) -> str:
    """The zone that a stack's names are in; empty where it does not deploy to AWS."""
    return str(config.get("hubstack:ec2", {}).get("zone", ""))


class RehearsalError(Exception):
    """A step failed; the message is the engine's own."""


@dataclass
class Rehearsal:
    """A stack in a folder and a state of its own, so that it never meets the real one."""

    stack: str
    folder: Path
    endpoint: str

    @property
    def project(self) -> Path:
        """The copy of the project."""
        return self.folder / "project"

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment of the engine; what calls AWS beside the provider takes the simulator's address from here."""
        return {
            **os.environ,
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "rehearsal",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            **{name.upper(): value for name, value in CREDENTIALS.items()},
        }

    def prepare(self) -> None:
        """Copy the project and point its stack at the simulator, by configuration alone."""
        (self.folder / "state").mkdir()
        shutil.copytree(ROOT, self.project, ignore=shutil.ignore_patterns(*LEFT_OUT))
        (self.project / ".venv").symlink_to(ROOT / ".venv")
        file = self.project / f"Pulumi.{self.stack}.yaml"
        document = yaml.safe_load(file.read_text())
        document["config"] = {**configuration(self.stack), **provider_configuration(self.endpoint)}
        file.write_text(yaml.safe_dump(document))
        self.pulumi("stack", "select", "--create", self.stack)

    def pulumi(self, *arguments: str) -> str:
        """Run the engine and return what it printed.

        Raises:
            RehearsalError: it failed.
        """
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        output = done.stdout + done.stderr
        LOG.parent.mkdir(exist_ok=True)
        with LOG.open("a") as log:
            log.write(f"$ pulumi {' '.join(arguments)}\n{output}\n")
        if done.returncode:
            raise RehearsalError("\n".join(output.splitlines()[-LAST_LINES:]))
        return output

    def step(self, title: str, *arguments: str) -> str:
        """Run one step of the engine on the stack and tell its time."""
        say(f"{title} …")
        start = time.monotonic()
        output = self.pulumi(*arguments, "--stack", self.stack, *LEFT_TO_AWS)
        seconds = time.monotonic() - start
        summary = [line.strip() for line in output.splitlines() if line.strip().endswith(SUMMARY_ENDINGS)]
        say(f"{title}: {seconds:.0f} s{', ' + '; '.join(summary) if summary else ''}")
        return output

    def pack(self) -> Sequence[str]:
        """The policy pack's arguments."""
        levels = self.project / "policies" / "config" / f"{self.stack}.json"
        configured = ["--policy-pack-config", str(levels)] if levels.exists() else []
        return ["--policy-pack", "policies", *configured]


LEFT_TO_AWS = [argument for type_ in NOT_SIMULATED for argument in ("--exclude", f"**{type_}::**")]
"""The engine's arguments that leave out what the simulator lacks."""

SUMMARY_ENDINGS = ("to create", "created", "unchanged", "deleted", "updated")


@contextmanager
def rehearsal_of(stack: str, folder: Path, zone: str) -> Iterator[Rehearsal]:
    """A stack that can be deployed, with nothing deployed yet, and an AWS that is there as long as the context is.

    What the stack's images name is in the account's registries.
    """
    with simulated_aws(zone) as endpoint:
        rehearsal = Rehearsal(stack, folder, endpoint)
        put_images(texts_in(configuration(stack)))
        rehearsal.prepare()
        yield rehearsal


def rehearse(
    stack: str, folder: Path, zone: str, meanwhile: Callable[[Rehearsal], object] = lambda _: None
) -> list[str]:
    """Carry the rehearsal out; returns what is left in the account afterwards.

    Args:
        stack: the stack's name.
        folder: an empty folder for the copy of the project and the state.
        zone: hosted zone that the account has.
        meanwhile: what happens to the deployed stack before it is destroyed. Default: nothing.

    Raises:
        RehearsalError: a step failed.
    """
    with rehearsal_of(stack, folder, zone) as rehearsal:
        before = set(inventory(rehearsal.endpoint))
        for type_, reason in NOT_SIMULATED.items():
            say(f"left out: {type_} ({reason})")
        rehearsal.step("preview with the policy pack", "preview", *rehearsal.pack())
        rehearsal.step("up", "up", "--yes", "--skip-preview", *rehearsal.pack())
        rehearsal.step("preview after refresh", "preview", "--refresh", "--expect-no-changes")
        meanwhile(rehearsal)
        rehearsal.step("destroy", "destroy", "--yes", "--skip-preview")
        return sorted(set(inventory(rehearsal.endpoint)) - before)


def inventory(endpoint: str) -> list[str]:
    """What is in the account and costs money or holds data, as `kind id`."""
    ec2 = client("ec2", endpoint)
    found = [
        f"instance {instance['InstanceId']}"
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] not in {"terminated", "shutting-down"}
    ]
    found += [f"volume {volume['VolumeId']}" for volume in ec2.describe_volumes()["Volumes"]]
    found += [f"address {address['AllocationId']}" for address in ec2.describe_addresses()["Addresses"]]
    found += [f"vpc {vpc['VpcId']}" for vpc in ec2.describe_vpcs()["Vpcs"]]
    found += [f"security group {group['GroupId']}" for group in ec2.describe_security_groups()["SecurityGroups"]]
    found += [f"launch template {t['LaunchTemplateId']}" for t in ec2.describe_launch_templates()["LaunchTemplates"]]
    found += [
        f"NAT gateway {gateway['NatGatewayId']}"
        for gateway in ec2.describe_nat_gateways()["NatGateways"]
        if gateway["State"] != "deleted"
    ]
    found += [f"bucket {bucket['Name']}" for bucket in client("s3", endpoint).list_buckets()["Buckets"]]
    found += [f"role {role['RoleName']}" for role in client("iam", endpoint).list_roles()["Roles"]]
    found += [
        f"file system {s['FileSystemId']}" for s in client("efs", endpoint).describe_file_systems()["FileSystems"]
    ]
    balancers = client("elbv2", endpoint).describe_load_balancers()["LoadBalancers"]
    found += [f"load balancer {balancer['LoadBalancerName']}" for balancer in balancers]
    groups = client("autoscaling", endpoint).describe_auto_scaling_groups()["AutoScalingGroups"]
    found += [f"scaling group {group['AutoScalingGroupName']}" for group in groups]
    checks = client("route53", endpoint).list_health_checks()["HealthChecks"]
    found += [f"health check {check['Id']}" for check in checks]
    alarms = client("cloudwatch", endpoint).describe_alarms()["MetricAlarms"]
    found += [f"alarm {alarm['AlarmName']}" for alarm in alarms]
    topics = client("sns", endpoint).list_topics()["Topics"]
    found += [f"topic {topic['TopicArn']}" for topic in topics]
    certificates = client("acm", endpoint).list_certificates()["CertificateSummaryList"]
    found += [f"certificate {certificate['DomainName']}" for certificate in certificates]
    secrets = client("secretsmanager", endpoint).list_secrets()["SecretList"]
    return found + [f"secret {secret['Name']}" for secret in secrets]


def main(arguments: Sequence[str]) -> int:
    """Rehearse the stack that the arguments name."""
    [stack] = arguments
    LOG.unlink(missing_ok=True)
    file = ROOT / f"Pulumi.{stack}.yaml"
    if not file.exists():
        say(f"there is no {file.name}")
        return 1
    zone = hosted_zone(configuration(stack))
    if not zone:
        say(f"{file.name} does not deploy to AWS (hubstack:ec2 names no zone); there is nothing to rehearse")
        return 1
    with tempfile.TemporaryDirectory(prefix="hubstack-rehearsal-") as folder:
        try:
            left = rehearse(stack, Path(folder), zone)
        except RehearsalError as error:
            sys.stderr.write(f"{error}\n")
            say(f"the rehearsal failed; all that the engine said is in {LOG.relative_to(ROOT)}")
            return 1
    print(json.dumps({"left": left}))
    say("left, as the stack keeps data: " + ", ".join(left) if left else "nothing is left")
    return 0
