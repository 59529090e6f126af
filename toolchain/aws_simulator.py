"""An AWS of this machine: moto on loopback, with what a real account has before a stack comes to it."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import boto3
from moto import settings as moto_settings
from moto.autoscaling.models import AutoScalingBackend, LifecycleHook
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.nat_gateways import NatGateway
from moto.ecr.models import ecr_backends
from moto.elbv2.models import ELBv2Backend, FakeLoadBalancer
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer
from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse
from moto.ssm.models import Command

from toolchain.cbor_protocol import Environment, translated

DEBIAN_OWNER = "136693071363"
"""Account that publishes Debian's images."""

REGION = "us-east-1"
CREDENTIALS = {"aws_access_key_id": "rehearsal", "aws_secret_access_key": "rehearsal"}

SERVICES = (
    *("acm", "autoscaling", "backup", "budgets", "cloudwatch", "dlm", "ec2", "ecr", "efs", "elbv2", "iam", "kms"),
    *("logs", "route53", "s3", "s3control", "secretsmanager", "servicequotas", "sns", "ssm", "sts"),
)
"""Services of the provider whose endpoints are pointed here."""

NOT_SIMULATED = {
    "aws:budgets/budget:Budget": "moto cannot read a budget's subscribers back",
    "aws:dlm/lifecyclePolicy:LifecyclePolicy": "moto has no Data Lifecycle Manager",
    "aws:efs/backupPolicy:BackupPolicy": "moto does not take a file system's backup policy",
}
"""Resource types that the simulator lacks, each with the reason; a rehearsal leaves them out."""

ECR_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/([^@:]+)(?::[^@]+)?@(sha256:[0-9a-f]{64})")
"""An image by digest in a registry: its account, region, repository and digest."""

QUOTAS = {
    ("ec2", "L-1216C47A"): 256.0,
    ("ec2", "L-0263D0A3"): 5.0,
    ("ebs", "L-7A658B76"): 50.0,
}
"""Limits of the simulated account by service and quota code; moto knows those of VPCs alone."""


def provider_configuration(endpoint: str) -> dict[str, object]:
    """The stack's configuration that sends the provider there."""
    return {
        "aws:region": REGION,
        "aws:accessKey": CREDENTIALS["aws_access_key_id"],
        "aws:secretKey": CREDENTIALS["aws_secret_access_key"],
        "aws:skipCredentialsValidation": True,
        "aws:skipMetadataApiCheck": True,
        "aws:s3UsePathStyle": True,
        # What the simulator cannot do it will not do at the tenth time either; a connection may be dropped once.
        "aws:maxRetries": 2,
        # S3 Control puts the account's number before the host's name, which no resolver knows: all goes to the simulator.
        "aws:httpProxy": endpoint,
        "aws:endpoints": [dict.fromkeys(SERVICES, endpoint)],
    }


@contextmanager
def simulated_aws(zone: str) -> Iterator[str]:
    """Run the simulator with a hosted zone, Debian's images and the account's quotas in it; gives its address."""
    _correct_simulator()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # What an earlier simulator of this process held would be in this one as well.
    moto_api_backend.reset()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    # Read whenever an account is made: others of this process need not wait for a thousand policies.
    with mock.patch.dict(os.environ, MOTO_IAM_LOAD_MANAGED_POLICIES="true"):
        server.start()
        try:
            host, port = server.get_host_and_port()
            endpoint = f"http://{host}:{port}"
            _furnish(endpoint, zone)
            yield endpoint
        finally:
            server.stop()


def client(service: str, endpoint: str) -> Any:
    """A client of the simulator."""
    return boto3.client(service, region_name=REGION, endpoint_url=endpoint, **CREDENTIALS)


def put_images(names: Iterable[str]) -> None:
    """Have images in registries of ECR, whichever their accounts are; names of other images count for nothing.

    Args:
        names: `<account>.dkr.ecr.<region>.amazonaws.com/<repository>@<digest>`.
    """
    for name in sorted(set(names)):
        found = ECR_IMAGE.fullmatch(name)
        if found is None:
            continue
        account, region, repository, digest = found.groups()
        registry = ecr_backends[DEFAULT_ACCOUNT_ID][region]
        if repository not in registry.repositories:
            registry.create_repository(repository, account, {}, {}, "IMMUTABLE", [])
        registry.repositories[repository].registry_id = account
        manifest = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest})
        registry.put_image(repository, manifest, digest.removeprefix("sha256:"), digest=digest)


def _correct_simulator() -> None:
    """Make the simulator answer as AWS does where it differs."""
    ServiceQuotasBackend.get_service_quota = _service_quota  # pyright: ignore[reportAttributeAccessIssue]
    # The provider asks for AWS's default beside the account's own value.
    ServiceQuotasResponse.get_aws_default_service_quota = ServiceQuotasResponse.get_service_quota  # pyright: ignore[reportAttributeAccessIssue]
    ELBv2Backend.create_load_balancer = _load_balancer  # pyright: ignore[reportAttributeAccessIssue]
    AutoScalingBackend.create_lifecycle_hook = _lifecycle_hook  # pyright: ignore[reportAttributeAccessIssue]
    # Without it the provider reads neither the subnet nor the address of a gateway that it did not make itself.
    NatGateway.availability_mode = "zonal"  # pyright: ignore[reportAttributeAccessIssue]
    Command._get_instance_ids_from_targets = _targets  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001
    # It does not know the protocol in which the provider speaks to CloudWatch.
    DomainDispatcherApplication.__call__ = _answer  # pyright: ignore[reportAttributeAccessIssue]
    # Seconds until a certificate counts as validated.
    moto_settings.ACM_VALIDATION_WAIT = 1


_answer_older = DomainDispatcherApplication.__call__


def _answer(simulator: DomainDispatcherApplication, environment: Environment, start: Callable[..., Any]) -> Any:
    return translated(partial(_answer_older, simulator), CREDENTIALS)(environment, start)


_instances_of_targets = Command._get_instance_ids_from_targets  # noqa: SLF001


def _targets(command: Command) -> list[str]:
    # The simulator takes a command without targets for one to every instance.
    return _instances_of_targets(command) if command.targets else []


_create_load_balancer = ELBv2Backend.create_load_balancer


def _load_balancer(backend: ELBv2Backend, *arguments: Any, **named: Any) -> FakeLoadBalancer:
    balancer = _create_load_balancer(backend, *arguments, **named)
    # The provider looks again only after a minute.
    balancer.activate()
    return balancer


_create_lifecycle_hook = AutoScalingBackend.create_lifecycle_hook


def _lifecycle_hook(backend: AutoScalingBackend, *arguments: Any, **named: Any) -> LifecycleHook:
    hook = _create_lifecycle_hook(backend, *arguments, **named)
    # The simulator gives every hook the same queue, which nobody asked for.
    hook.role_arn = hook.notification_target_arn = None  # pyright: ignore[reportAttributeAccessIssue]
    return hook


def _furnish(endpoint: str, zone: str) -> None:
    client("route53", endpoint).create_hosted_zone(Name=zone, CallerReference="rehearsal")
    ec2 = client("ec2", endpoint)
    started = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    image = ec2.create_image(InstanceId=started, Name="debian-12-amd64-20260101-1")["ImageId"]
    ec2_backends[DEFAULT_ACCOUNT_ID][REGION].amis[image].owner_id = DEBIAN_OWNER
    ec2.terminate_instances(InstanceIds=[started])


def _service_quota(_self: ServiceQuotasBackend, service_code: str, quota_code: str) -> dict[str, Any]:
    value = QUOTAS.get((service_code, quota_code))
    if value is None:
        raise NoSuchResource
    return {
        "ServiceCode": service_code,
        "ServiceName": service_code,
        "QuotaArn": f"arn:aws:servicequotas:{REGION}:{DEFAULT_ACCOUNT_ID}:{service_code}/{quota_code}",
        "QuotaCode": quota_code,
        "QuotaName": quota_code,
        "Value": value,
        "Adjustable": True,
        "GlobalQuota": False,
    }
