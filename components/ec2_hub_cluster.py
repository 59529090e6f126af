"""A JupyterHub on an EC2 host that gives each user an EC2 instance of their own (seed 004)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
import pulumi_aws as aws

from components.aws.access import (
    CLUSTER_TAG,
    SESSION_MANAGER_POLICY,
    ManagerScope,
    manager_policy,
    trust,
)
from components.aws.account import Account, read_account
from components.aws.boot import ManagerBoot, encoded, manager_bundle, manager_user_data
from components.aws.budget import monthly_budget
from components.aws.checks import alarm_email, check_alarm_email, check_data_protection, check_place
from components.aws.costs import monthly_cost
from components.aws.dns import address_record
from components.aws.firewall import EVERYWHERE, HTTP, HTTPS, Rule, egress_rules, let_in, let_out, security_group
from components.aws.health_alarms import alarm_topic, https_check_with_alarm
from components.aws.hosts import host, launch_template
from components.aws.network import Network, interface_endpoints, network
from components.aws.service_quotas import (
    QuotaNeed,
    elastic_addresses,
    standard_vcpus,
    volume_terabytes,
)
from components.aws.storage import Bundle, daily_snapshots, data_disk, stored_bundle
from components.aws.subnets import plan_subnets
from components.aws.teardown import LaunchedInstances
from components.egress import PROFILES_WITHOUT_LISTS, EgressProfile, check_known_profile
from components.login import Login, check_login, login_document
from components.quotas import (
    FLEET_QUOTA_DEFAULTS,
    USER_QUOTA_DEFAULTS,
    FleetQuota,
    UserQuota,
    check_fleet_quota,
    check_user_quota,
    parse_size,
    user_quota_document,
)
from components.random_secrets import random_password, random_token
from components.users import HubUser, repeated_names, users_document

HUB_API_PORT = 8081
BUNDLE_PORT = 8888
NOTEBOOK_PORT = 8888
ROOT_GIGABYTES = 16
DATA_GIGABYTES = 10
DATA_DEVICE = "/dev/sdf"
SNAPSHOTS_KEPT = 7

DEFAULT_ZONES = 2
DEFAULT_CIDR = "10.10.0.0/16"
DEFAULT_MANAGER_TYPE = "t3.medium"
DEFAULT_WORKER_TYPE = "t3.small"


class Ec2HubClusterArgs(TypedDict):
    """Arguments of `Ec2HubCluster`."""

    domain: str
    """Name that users type; a record of the hosted zone."""
    zone: str
    """Name of the public hosted zone in Route 53 that `domain` lies in."""
    users: list[HubUser]
    """Who may log in; at least one."""
    login: NotRequired[Login]
    """How they log in. Default: a generated password that users share."""
    cidr: NotRequired[str]
    """Private range of the VPC, /16 to /20. Default 10.10.0.0/16."""
    zones: NotRequired[int]
    """Availability zones, 1 to 4. Default 2."""
    natPerZone: NotRequired[bool]
    """Whether each zone has a NAT gateway; one serves all otherwise. Default False."""
    managerType: NotRequired[str]
    """Instance type of the manager. Default t3.medium."""
    workerType: NotRequired[str]
    """Instance type of users' hosts. Default t3.small."""
    interfaceEndpoints: NotRequired[list[str]]
    """AWS services that the manager reaches without the NAT gateway, such as `ec2`; each costs by the hour. Default: none."""
    image: NotRequired[str]
    """Machine image of manager and workers, an id of a Debian 12 image. Default: the newest that Debian publishes."""
    userQuota: NotRequired[UserQuota]
    """What one user may use."""
    fleetQuota: NotRequired[FleetQuota]
    """What all users may use."""
    egressProfile: NotRequired[EgressProfile]
    """What servers may reach: `closed` or `open`. Default `closed`."""
    monthlyBudget: NotRequired[int]
    """US dollars a month at which the owner gets a warning; needs `budgetEmail`. Default: no budget."""
    budgetEmail: NotRequired[str]
    """Who gets the warning."""
    alarmEmail: NotRequired[str]
    """Who hears by e-mail that the hub does not answer, or does again. Default: `budgetEmail`; one of both is needed."""
    dataProtection: NotRequired[bool]
    """Whether homes, the hub's database and snapshots outlive `destroy`. Default True."""
    confirmDataLoss: NotRequired[str]
    """The domain again, where `dataProtection` is False. Default: none."""


@dataclass(frozen=True)
class _Passwords:
    user: pulumi.Output[str]
    admin: pulumi.Output[str]


@dataclass(frozen=True)
class _Groups:
    """The original's three security groups: rules of their own, so that they go in any order."""

    manager: aws.ec2.SecurityGroup
    manager2: aws.ec2.SecurityGroup
    worker: aws.ec2.SecurityGroup


class Ec2HubCluster(pulumi.ComponentResource):
    """A manager in a public subnet with JupyterHub on it, and users' hosts in private subnets that it launches.

    Users' hosts have no role, no key and no public address; they are stopped when idle and ended at the greatest age.
    Homes are encrypted volumes that outlive them. The manager may launch from one launch template and no other.
    """

    url: pulumi.Output[str]
    """Address of the hub."""
    managerAddress: pulumi.Output[str]
    """The manager's public address."""
    password: pulumi.Output[str]
    """Password of users, a secret; unused with another login."""
    adminPassword: pulumi.Output[str]
    """Password of administrators, a secret; unused with another login."""
    monthlyCost: pulumi.Output[str]
    """Estimate in US dollars a month; docs/costs.md has the formula."""

    def __init__(self, name: str, args: Ec2HubClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the cluster.

        Args:
            name: prefix of the resources' names, and the value of the tag `hubstack:cluster`.
            args: see `Ec2HubClusterArgs`.
            opts: resource options.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong or the account's limits too small; everything is listed.
        """
        super().__init__("hubstack:index:Ec2HubCluster", name, {}, opts)
        errors = check_ec2_hub_cluster(args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        self._name, self._args = name, args
        self._local = pulumi.ResourceOptions(parent=self)
        self._keep = args.get("dataProtection", True)
        account = read_account(
            hosted_zone_name=args["zone"],
            zones=args.get("zones", DEFAULT_ZONES),
            image=args.get("image"),
            instance_types=instance_types(args),
            needs=lambda sizes: quota_needs(args, sizes["managerType"].vcpus, sizes["workerType"].vcpus),
            opts=pulumi.InvokeOptions(parent=self),
        )
        if account.errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed to account {account.id}", account.errors)
        plan = plan_subnets(args.get("cidr", DEFAULT_CIDR), args.get("zones", DEFAULT_ZONES))
        net = network(name, plan, account.zones, nat_per_zone=args.get("natPerZone", False), opts=self._local)
        interface_endpoints(name, net, account.region, args.get("interfaceEndpoints", []), self._local)
        groups = self._groups(net.vpc.id)
        template = launch_template(
            f"{name}-worker",
            image=account.image,
            instance_type=args.get("workerType", DEFAULT_WORKER_TYPE),
            security_groups=[groups.worker.id],
            disk_gigabytes=ROOT_GIGABYTES,
            opts=self._local,
        )
        # Deleted after the manager, which launches instances, and before the groups and subnets that they are in.
        launched = LaunchedInstances(
            f"{name}-launched",
            {
                "cluster": name,
                "region": account.region,
                "profile": aws.config.profile or "",
                "delete_homes": not self._keep,
            },
            pulumi.ResourceOptions(parent=self, depends_on=[template, *net.private, groups.worker]),
        )
        passwords = self._passwords()
        secret = self._secret(passwords)
        # All of it is known at preview, so that the policy pack can judge the quotas in it before an update.
        content = manager_bundle(hub_settings(name, args))
        bundle = stored_bundle(f"{name}-bundle", "manager.tar.gz", content, self._local)
        profile = self._manager_role(account, net, groups, template, bundle, secret)
        address = self._manager(account, net, groups, template, profile, bundle, secret, launched)
        address_record(name, account.zone_id, args["domain"], address.public_ip, self._local)
        alarms = alarm_topic(name, alarm_email(args), self._local)
        https_check_with_alarm(name, args["domain"], "/hub/health", alarms, self._local)
        daily_snapshots(name, cluster=name, keep=SNAPSHOTS_KEPT, opts=self._local)
        monthly_budget(name, args.get("monthlyBudget"), args.get("budgetEmail"), self._local)
        self.url = pulumi.Output.from_input(f"https://{args['domain']}")
        self.managerAddress = address.public_ip
        self.password = passwords.user
        self.adminPassword = passwords.admin
        self.monthlyCost = pulumi.Output.from_input(estimate(args))
        self.register_outputs(
            {
                "url": self.url,
                "managerAddress": self.managerAddress,
                "password": self.password,
                "adminPassword": self.adminPassword,
                "monthlyCost": self.monthlyCost,
            }
        )

    def _groups(self, vpc: pulumi.Output[str]) -> _Groups:
        name = self._name
        manager, manager2, worker = (
            security_group(f"{name}-{label}", vpc, text, self._local)
            for label, text in (
                ("manager", "Users reach the hub"),
                ("manager2", "Users' hosts reach the hub's API"),
                ("worker", "The manager reaches users' hosts"),
            )
        )
        everybody = [
            Rule("everybody-https", "tcp", (HTTPS, HTTPS), cidr=EVERYWHERE),
            # Let's Encrypt asks here, and browsers are sent on to HTTPS.
            Rule("everybody-http", "tcp", (HTTP, HTTP), cidr=EVERYWHERE),
        ]
        let_in(f"{name}-manager", manager, everybody, self._local)
        to_manager = [
            Rule(f"manager-{port}", "tcp", (port, port), group=manager2.id) for port in (HUB_API_PORT, BUNDLE_PORT)
        ]
        from_worker = [
            Rule(f"worker-{port}", "tcp", (port, port), group=worker.id) for port in (HUB_API_PORT, BUNDLE_PORT)
        ]
        let_in(f"{name}-manager2", manager2, from_worker, self._local)
        notebook = (NOTEBOOK_PORT, NOTEBOOK_PORT)
        let_in(f"{name}-worker", worker, [Rule("manager", "tcp", notebook, group=manager.id)], self._local)
        # Packages, certificates and AWS's own interfaces are all behind HTTPS or Debian's HTTP mirrors.
        outward = [
            Rule("internet-https", "tcp", (HTTPS, HTTPS), cidr=EVERYWHERE),
            Rule("internet-http", "tcp", (HTTP, HTTP), cidr=EVERYWHERE),
            Rule("worker", "tcp", notebook, group=worker.id),
        ]
        let_out(f"{name}-manager", manager, outward, self._local)
        profile = EgressProfile(self._args.get("egressProfile", EgressProfile.CLOSED))
        let_out(f"{name}-worker", worker, [*to_manager, *egress_rules(profile)], self._local)
        return _Groups(manager, manager2, worker)

    def _passwords(self) -> _Passwords:
        return _Passwords(
            user=random_password(f"{self._name}-user-password", 20, self._local),
            admin=random_password(f"{self._name}-admin-password", 40, self._local),
        )

    def _secret(self, passwords: _Passwords) -> aws.secretsmanager.Secret:
        values = {
            "user-password": passwords.user,
            "admin-password": passwords.admin,
            "cookie-secret": random_token(f"{self._name}-cookie-secret", self._local),
            "proxy-token": random_token(f"{self._name}-proxy-token", self._local),
            "client-secret": self._args.get("login", {}).get("clientSecret", ""),
        }
        secret = aws.secretsmanager.Secret(
            f"{self._name}-hub", description=f"What the hub of {self._name} keeps", opts=self._local
        )
        aws.secretsmanager.SecretVersion(
            f"{self._name}-hub",
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(pulumi.Output.json_dumps(values, sort_keys=True)),
            opts=self._local,
        )
        return secret

    def _manager_role(
        self,
        account: Account,
        net: Network,
        groups: _Groups,
        template: aws.ec2.LaunchTemplate,
        bundle: Bundle,
        secret: aws.secretsmanager.Secret,
    ) -> aws.iam.InstanceProfile:
        name = self._name
        role = aws.iam.Role(f"{name}-manager", assume_role_policy=trust("ec2.amazonaws.com"), opts=self._local)

        def document(known: Sequence[str]) -> str:
            launch_template, group, bundle_arn, secret_arn, *subnets = known
            scope: ManagerScope = {
                "cluster": name,
                "partition": account.partition,
                "region": account.region,
                "account": account.id,
                "launch_template": launch_template,
                "subnets": subnets,
                "security_group": group,
                "image": account.image,
                "bundle": bundle_arn,
                "secrets": [secret_arn],
            }
            return manager_policy(scope)

        known = pulumi.Output.all(
            template.id, groups.worker.id, bundle.arn, secret.arn, *(subnet.id for subnet in net.private)
        )
        aws.iam.RolePolicy(f"{name}-manager", role=role.id, policy=known.apply(document), opts=self._local)
        aws.iam.RolePolicyAttachment(
            f"{name}-manager-shell", role=role.name, policy_arn=SESSION_MANAGER_POLICY, opts=self._local
        )
        return aws.iam.InstanceProfile(f"{name}-manager", role=role.name, opts=self._local)

    def _manager(
        self,
        account: Account,
        net: Network,
        groups: _Groups,
        template: aws.ec2.LaunchTemplate,
        profile: aws.iam.InstanceProfile,
        bundle: Bundle,
        secret: aws.secretsmanager.Secret,
        launched: LaunchedInstances,
    ) -> aws.ec2.Eip:
        name = self._name
        data = data_disk(
            f"{name}-data",
            zone=net.public[0].availability_zone,
            gigabytes=DATA_GIGABYTES,
            cluster=name,
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=self._keep),
        )
        known = pulumi.Output.all(
            bundle.address, secret.arn, template.id, data.id, *(subnet.id for subnet in net.private)
        )

        def user_data(known: Sequence[str]) -> str:
            address, secret_arn, launch_template, volume, *subnets = known
            boot = ManagerBoot(
                bundle=address,
                bundle_sha256=bundle.digest,
                secret=secret_arn,
                launch_template=launch_template,
                subnets=dict(zip(account.zones, subnets, strict=True)),
                data_volume=volume,
                domain=self._args["domain"],
                region=account.region,
            )
            return encoded(manager_user_data(boot))

        manager = host(
            f"{name}-manager",
            image=account.image,
            instance_type=self._args.get("managerType", DEFAULT_MANAGER_TYPE),
            subnet=net.public[0].id,
            security_groups=[groups.manager.id, groups.manager2.id],
            profile=profile.name,
            user_data=known.apply(user_data),
            disk_gigabytes=ROOT_GIGABYTES,
            tags={CLUSTER_TAG: name},
            # The volume with the hub's database can be attached to one manager at a time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[launched], delete_before_replace=True),
        )
        aws.ec2.VolumeAttachment(
            f"{name}-data", device_name=DATA_DEVICE, instance_id=manager.id, volume_id=data.id, opts=self._local
        )
        address = aws.ec2.Eip(f"{name}-manager", domain="vpc", tags={"Name": f"{name}-manager"}, opts=self._local)
        aws.ec2.EipAssociation(f"{name}-manager", instance_id=manager.id, allocation_id=address.id, opts=self._local)
        return address


def hub_settings(name: str, args: Ec2HubClusterArgs) -> str:
    """The hub's settings as JSON, keys in a fixed order; `runtime/ec2_spawner/settings.py` reads them."""
    document = {
        "cluster": name,
        "users": users_document(args["users"]),
        "quota": user_quota_document(args.get("userQuota", {})),
        "fleet": {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})},
        "egress": {"profile": EgressProfile(args.get("egressProfile", EgressProfile.CLOSED)).value},
        "login": login_document(args.get("login", {}), args["domain"]),
    }
    return json.dumps(document, sort_keys=True)


def home_gigabytes(args: Ec2HubClusterArgs) -> int:
    """Size of a home volume: whole GiB, as EBS sells them."""
    quota: UserQuota = {**USER_QUOTA_DEFAULTS, **args.get("userQuota", {})}
    return max(1, math.ceil(parse_size(quota.get("home", "")) / 2**30))


def servers(args: Ec2HubClusterArgs) -> int:
    """Most servers at once."""
    quota: FleetQuota = {**FLEET_QUOTA_DEFAULTS, **args.get("fleetQuota", {})}
    return int(quota.get("servers", 0))


def gateways(args: Ec2HubClusterArgs) -> int:
    """NAT gateways, each with an address."""
    return args.get("zones", DEFAULT_ZONES) if args.get("natPerZone", False) else 1


def instance_types(args: Ec2HubClusterArgs) -> dict[str, str]:
    """The instance types by the argument that names them."""
    return {
        "managerType": args.get("managerType", DEFAULT_MANAGER_TYPE),
        "workerType": args.get("workerType", DEFAULT_WORKER_TYPE),
    }


def quota_needs(args: Ec2HubClusterArgs, manager_vcpus: int, worker_vcpus: int) -> list[QuotaNeed]:
    """What the stack needs of the account's limits when every user is there."""
    disks = len(args["users"]) * home_gigabytes(args) + (servers(args) + 1) * ROOT_GIGABYTES + DATA_GIGABYTES
    return [
        standard_vcpus(manager_vcpus + servers(args) * worker_vcpus),
        elastic_addresses(gateways(args) + 1),
        volume_terabytes(math.ceil(disks / 1024)),
    ]


def estimate(args: Ec2HubClusterArgs) -> str:
    """The month's cost in US dollars, as `monthly_cost` computes it, or why there is no estimate."""
    cost = monthly_cost(
        manager_type=args.get("managerType", DEFAULT_MANAGER_TYPE),
        worker_type=args.get("workerType", DEFAULT_WORKER_TYPE),
        users=len(args["users"]),
        home_gigabytes=home_gigabytes(args),
        root_gigabytes=ROOT_GIGABYTES,
        gateways=gateways(args),
    )
    return f"{cost:.0f}" if cost is not None else "unknown: the price of an instance type is not in the table"


def _check_network(args: Ec2HubClusterArgs) -> list[pulumi.InputPropertyErrorDetails]:
    errors: list[pulumi.InputPropertyErrorDetails] = []
    try:
        plan = plan_subnets(args.get("cidr", DEFAULT_CIDR), args.get("zones", DEFAULT_ZONES))
    except ValueError as error:
        return [{"property_path": "cidr", "reason": str(error)}]
    if plan.private_addresses < servers(args):
        reason = f"its private subnets hold {plan.private_addresses} hosts; {servers(args)} servers are allowed"
        errors.append({"property_path": "cidr", "reason": reason})
    return errors


def check_ec2_hub_cluster(args: Ec2HubClusterArgs) -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the arguments, each with the property and what is allowed."""
    errors: list[pulumi.InputPropertyErrorDetails] = []

    def wrong(path: str, reason: str) -> None:
        errors.append({"property_path": path, "reason": reason})

    errors += check_place(args["domain"], args, instance_types(args))
    errors += check_alarm_email(args)
    errors += check_data_protection(
        args["domain"], keep=args.get("dataProtection", True), confirmed=args.get("confirmDataLoss", "")
    )
    errors += _check_network(args)
    names = [user["name"] for user in args["users"]]
    for repeated in repeated_names(names):
        wrong("users", f"{repeated} is listed more than once")
    errors += check_known_profile(args.get("egressProfile", EgressProfile.CLOSED), PROFILES_WITHOUT_LISTS)
    errors += check_login(args.get("login", {}), names)
    errors += check_user_quota(args.get("userQuota", {}))
    errors += check_fleet_quota(args.get("fleetQuota", {}))
    return errors
