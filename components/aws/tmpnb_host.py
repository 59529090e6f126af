"""A host of a pool on EC2: a node or the redirector on an instance of its own, with its name and its rights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.access import CLUSTER_TAG, SESSION_MANAGER_POLICY, trust
from components.aws.account import Account
from components.aws.deletion_action import ProviderStart
from components.aws.dns import address_record
from components.aws.health_alarms import https_check_with_alarm
from components.aws.host_farewell import HostFarewell
from components.aws.hosts import host
from components.aws.storage import bundle_in
from components.aws.swarm_access import HostScope, host_policy, repository_arns
from components.aws.tmpnb_bundle import host_user_data, pool_bundle
from components.aws.tmpnb_plan import ROOT_GIGABYTES
from runtime.container_group import GroupSpec

HEALTH_PATH = "/health"
EC2_SERVICE = "ec2.amazonaws.com"


@dataclass(frozen=True)
class PoolPlace:
    """What all hosts of a pool share."""

    pool: str
    """Name of the pool, and the value of its hosts' tag."""
    account: Account
    alarms: aws.sns.Topic
    """Who hears that a host does not answer."""
    bucket: aws.s3.Bucket
    """What hosts fetch, an object for each."""
    subnets: Sequence[pulumi.Output[str]]
    security_groups: Sequence[pulumi.Output[str]]
    ways: Sequence[pulumi.Resource]
    """What lets traffic in and out: it is there before a host starts, and goes after its users."""
    farewells: ProviderStart
    """Before it, no host is replaced, which begins with its farewell."""


@dataclass(frozen=True)
class HostSettings:
    """One host, everything filled in."""

    group: GroupSpec
    """Its containers."""
    images: Mapping[str, str]
    """Their images by digest, by short name."""
    domain: str
    """Its name in the hosted zone."""
    instance_type: str
    number: int
    """Which of the subnets it is in, modulo their count: others that come and go move it nowhere."""
    drain_seconds: int | None
    """How long its users get when it is removed; None where it has none, as on a redirector."""
    after: Sequence[pulumi.Resource] = ()
    """What is there before the host hears of its bundle."""


class TmpnbHost(pulumi.ComponentResource):
    """A node or the redirector of a pool on an EC2 instance, which looks after its containers by itself."""

    url: pulumi.Output[str]
    """Where visitors reach it."""

    record: aws.route53.Record
    """Its name."""

    def __init__(
        self,
        name: str,
        place: PoolPlace,
        settings: HostSettings,
        secrets: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the host.

        Args:
            name: the resource's name, and the prefix of its parts'.
            place: what all hosts of the pool share.
            settings: what it is.
            secrets: what its containers must know, by name; none for a host that needs none.
            opts: resource options.
        """
        super().__init__("hubstack:index:TmpnbHost", name, {}, opts)
        self._name, self._place, self._settings = name, place, settings
        self._local = pulumi.ResourceOptions(parent=self)
        bundle = bundle_in(
            place.bucket,
            name,
            f"{settings.group['group']}.tar.gz",
            pool_bundle(settings.group, settings.images),
            pulumi.ResourceOptions(parent=self, depends_on=[*settings.after]),
        )
        secret = self._secret(secrets) if secrets else None
        secret_arn = secret.arn if secret else pulumi.Output.from_input("")
        profile, shell = self._profile(bundle.arn, secret_arn)
        self.record = self._instance(profile, shell, bundle.key, secret_arn)
        self.url = pulumi.Output.from_input(f"https://{settings.domain}")
        self.register_outputs({"url": self.url})

    def _secret(self, values: Mapping[str, pulumi.Input[str]]) -> aws.secretsmanager.Secret:
        secret = aws.secretsmanager.Secret(
            self._name, description=f"What the containers of {self._name} must know", opts=self._local
        )
        aws.secretsmanager.SecretVersion(
            self._name,
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(pulumi.Output.json_dumps(dict(values), sort_keys=True)),
            opts=self._local,
        )
        return secret

    def _profile(
        self, bundle: pulumi.Output[str], secret: pulumi.Output[str]
    ) -> tuple[aws.iam.InstanceProfile, aws.iam.RolePolicyAttachment]:
        """Rights of the host's program, and what lets Session Manager reach the host."""
        repositories = repository_arns(list(self._settings.images.values()), self._place.account.partition)

        def document(known: Sequence[str]) -> str:
            scope: HostScope = {
                "bundle": known[0],
                "repositories": repositories,
                "reads": [known[1]] if known[1] else [],
            }
            return host_policy(scope)

        role = aws.iam.Role(self._name, assume_role_policy=trust(EC2_SERVICE), opts=self._local)
        policy = pulumi.Output.all(bundle, secret).apply(document)
        aws.iam.RolePolicy(self._name, role=role.id, policy=policy, opts=self._local)
        shell = aws.iam.RolePolicyAttachment(
            f"{self._name}-shell", role=role.name, policy_arn=SESSION_MANAGER_POLICY, opts=self._local
        )
        return aws.iam.InstanceProfile(self._name, role=role.name, opts=self._local), shell

    def _instance(
        self,
        profile: aws.iam.InstanceProfile,
        shell: aws.iam.RolePolicyAttachment,
        key: pulumi.Output[str],
        secret: pulumi.Output[str],
    ) -> aws.route53.Record:
        name, place, settings = self._name, self._place, self._settings
        user_data = pulumi.Output.all(place.bucket.bucket, key, secret).apply(
            lambda known: host_user_data(bucket=known[0], key=known[1], secret=known[2], region=place.account.region)
        )
        instance = host(
            name,
            image=place.account.image,
            instance_type=settings.instance_type,
            subnet=place.subnets[settings.number % len(place.subnets)],
            security_groups=[*place.security_groups],
            profile=profile.name,
            user_data=user_data,
            disk_gigabytes=ROOT_GIGABYTES,
            tags={CLUSTER_TAG: place.pool},
            # What it runs it fetches; a newer machine image ends nobody's server. One that is replaced lets its users
            # finish before its address goes to the next: AWS would give it another type by stopping it under them.
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*place.ways, place.farewells],
                ignore_changes=["ami", "userDataBase64"],
                replace_on_changes=[] if settings.drain_seconds is None else ["instanceType"],
                delete_before_replace=True,
            ),
        )
        address = aws.ec2.Eip(name, domain="vpc", tags={"Name": name}, opts=self._local)
        given = aws.ec2.EipAssociation(name, instance_id=instance.id, allocation_id=address.id, opts=self._local)
        record = address_record(name, place.account.zone_id, settings.domain, address.public_ip, self._local)
        https_check_with_alarm(name, settings.domain, HEALTH_PATH, place.alarms, self._local)
        if settings.drain_seconds is not None:
            # Also where users get no time: taken off, it would be deleted, and say farewell, while the host stays.
            HostFarewell(
                name,
                {
                    "instance": instance.id,
                    "region": place.account.region,
                    "profile": aws.config.profile or "",
                    "seconds": settings.drain_seconds,
                },
                # Deleted before all of these: users reach the host by its name until they have finished.
                pulumi.ResourceOptions(parent=self, depends_on=[instance, given, record, shell, *place.ways]),
            )
        return record
