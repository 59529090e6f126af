"""The hosts of a `SwarmCluster` on EC2: managers over zones, a group of workers, a shared file system, a front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.access import CLUSTER_TAG, SESSION_MANAGER_POLICY, trust
from components.aws.account import Account
from components.aws.budget import monthly_budget
from components.aws.certificates import validated_certificate
from components.aws.checks import alarm_email
from components.aws.dns import alias_record
from components.aws.file_system import shared_file_system
from components.aws.firewall import EVERYWHERE, HTTP, HTTPS, Rule, egress_rules, let_in, let_out, security_group
from components.aws.health_alarms import alarm_topic, https_check_with_alarm
from components.aws.hosts import host, launch_template
from components.aws.load_balancer import https_front
from components.aws.network import Network, interface_endpoints, network
from components.aws.storage import Bundle, stored_bundle
from components.aws.subnets import plan_subnets
from components.aws.swarm_access import HostScope, host_policy, repository_arns
from components.aws.swarm_bundle import node_user_data
from components.aws.swarm_plan import (
    DEFAULT_CIDR,
    DEFAULT_MANAGERS,
    DEFAULT_WORKERS,
    DEFAULT_ZONES,
    ROOT_GIGABYTES,
    SwarmOnEc2,
    instance_types,
)
from components.docker.tls_proxy import TLS_PORT
from components.egress import EgressProfile

MANAGEMENT = (2377, 2377)
GOSSIP = (7946, 7946)
OVERLAY = (4789, 4789)
ESP = "50"
"""IP protocol that encrypted overlays travel in; forgotten, they are silent (moby 25266)."""

EVERY_PORT = (-1, -1)
"""What AWS says of protocols that have no ports."""

NFS = (2049, 2049)
LEAVE_SECONDS = 600
"""How long a worker that is ended has to leave the swarm and put homes away."""

HEALTH_PATH = "/hub/health"
EC2_SERVICE = "ec2.amazonaws.com"


@dataclass(frozen=True)
class SwarmHosts:
    """What the component tells of the hosts."""

    file_system: pulumi.Output[str]
    """Id of the file system with the homes and the hub's database."""


@dataclass(frozen=True)
class _Groups:
    member: aws.ec2.SecurityGroup
    manager: aws.ec2.SecurityGroup
    worker: aws.ec2.SecurityGroup
    front: aws.ec2.SecurityGroup
    files: aws.ec2.SecurityGroup


@dataclass(frozen=True)
class _Secrets:
    hub: aws.secretsmanager.Secret
    manager: aws.secretsmanager.Secret
    worker: aws.secretsmanager.Secret


@dataclass(frozen=True)
class Workload:
    """What the hosts run."""

    bundle: bytes
    """The archive that every host fetches."""
    images: Sequence[str]
    """Images that the hosts pull, by digest."""
    secrets: Mapping[str, pulumi.Input[str]]
    """The hub's secrets by name."""


@dataclass(frozen=True)
class _Cluster:
    """What managers and workers are declared with."""

    name: str
    args: SwarmOnEc2
    account: Account
    workload: Workload
    net: Network
    groups: _Groups
    files: aws.efs.FileSystem
    secrets: _Secrets
    bundle: Bundle
    opts: pulumi.ResourceOptions


def swarm_hosts(
    name: str,
    args: SwarmOnEc2,
    account: Account,
    workload: Workload,
    *,
    domain: str,
    profile: EgressProfile,
    keep: bool,
    opts: pulumi.ResourceOptions,
) -> SwarmHosts:
    """Declare the hosts and everything around them.

    Args:
        name: prefix of the resources' names, and the value of the cluster's tag.
        args: arguments that were checked.
        account: what AWS said of the account.
        workload: what the hosts run.
        domain: name that users type.
        profile: what users' servers may reach.
        keep: whether the file system outlives `destroy`.
        opts: resource options.
    """
    plan = plan_subnets(args.get("cidr", DEFAULT_CIDR), args.get("zones", DEFAULT_ZONES))
    net = network(name, plan, account.zones, nat_per_zone=args.get("natPerZone", False), opts=opts)
    interface_endpoints(name, net, account.region, args.get("interfaceEndpoints", []), opts)
    groups = _groups(name, net.vpc.id, profile, opts)
    files = shared_file_system(
        f"{name}-files",
        cluster=name,
        subnets=[subnet.id for subnet in net.private],
        security_group=groups.files.id,
        opts=opts,
        data_opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=keep)),
    )
    secrets = _secrets(name, workload.secrets, opts)
    bundle = stored_bundle(f"{name}-bundle", "swarm.tar.gz", workload.bundle, opts)
    cluster = _Cluster(name, args, account, workload, net, groups, files, secrets, bundle, opts)
    managers = _managers(cluster)
    _workers(cluster)
    certificate = validated_certificate(name, domain, account.zone_id, opts)
    front = https_front(
        name,
        vpc=net.vpc.id,
        subnets=[subnet.id for subnet in net.public],
        security_group=groups.front.id,
        certificate=certificate,
        hosts=[manager.id for manager in managers],
        port=TLS_PORT,
        health_path=HEALTH_PATH,
        opts=opts,
    )
    alias_record(name, account.zone_id, domain, front.name, front.zone_id, opts)
    https_check_with_alarm(name, domain, HEALTH_PATH, alarm_topic(name, alarm_email(args), opts), opts)
    monthly_budget(name, args.get("monthlyBudget"), args.get("budgetEmail"), opts)
    return SwarmHosts(files.id)


def _groups(name: str, vpc: pulumi.Output[str], profile: EgressProfile, opts: pulumi.ResourceOptions) -> _Groups:
    texts = {
        "member": "Hosts of the swarm reach each other",
        "manager": "Hosts and the load balancer reach managers",
        "worker": "What users may reach",
        "front": "Users reach the load balancer",
        "files": "Hosts reach the shared file system",
    }
    groups = _Groups(**{label: security_group(f"{name}-{label}", vpc, text, opts) for label, text in texts.items()})
    between = [
        Rule("gossip", "tcp", GOSSIP, group=groups.member.id),
        Rule("gossip-udp", "udp", GOSSIP, group=groups.member.id),
        Rule("overlay", "udp", OVERLAY, group=groups.member.id),
        Rule("encrypted-overlay", ESP, EVERY_PORT, group=groups.member.id),
    ]
    let_in(f"{name}-member", groups.member, between, opts)
    let_out(
        f"{name}-member",
        groups.member,
        [
            *between,
            Rule("management", "tcp", MANAGEMENT, group=groups.manager.id),
            Rule("files", "tcp", NFS, group=groups.files.id),
            # Packages, images and AWS's own interfaces are all behind HTTPS or Debian's HTTP mirrors.
            Rule("internet-https", "tcp", (HTTPS, HTTPS), cidr=EVERYWHERE),
            Rule("internet-http", "tcp", (HTTP, HTTP), cidr=EVERYWHERE),
        ],
        opts,
    )
    let_in(
        f"{name}-manager",
        groups.manager,
        [
            Rule("member", "tcp", MANAGEMENT, group=groups.member.id),
            Rule("front", "tcp", (TLS_PORT, TLS_PORT), group=groups.front.id),
        ],
        opts,
    )
    let_out(f"{name}-worker", groups.worker, egress_rules(profile), opts)
    everybody = [
        Rule("everybody-https", "tcp", (HTTPS, HTTPS), cidr=EVERYWHERE),
        # Sent on to HTTPS.
        Rule("everybody-http", "tcp", (HTTP, HTTP), cidr=EVERYWHERE),
    ]
    let_in(f"{name}-front", groups.front, everybody, opts)
    let_out(
        f"{name}-front", groups.front, [Rule("manager", "tcp", (TLS_PORT, TLS_PORT), group=groups.manager.id)], opts
    )
    let_in(f"{name}-files", groups.files, [Rule("member", "tcp", NFS, group=groups.member.id)], opts)
    return groups


def _secrets(name: str, values: Mapping[str, pulumi.Input[str]], opts: pulumi.ResourceOptions) -> _Secrets:
    def secret(label: str, text: str) -> aws.secretsmanager.Secret:
        return aws.secretsmanager.Secret(f"{name}-{label}", description=text, opts=opts)

    made = _Secrets(
        hub=secret("hub", f"What the hub of {name} keeps"),
        manager=secret("manager-invitation", f"How a manager joins {name}; the swarm's leader writes it"),
        worker=secret("worker-invitation", f"How a worker joins {name}; the swarm's leader writes it"),
    )
    aws.secretsmanager.SecretVersion(
        f"{name}-hub",
        secret_id=made.hub.id,
        secret_string=pulumi.Output.secret(pulumi.Output.json_dumps(values, sort_keys=True)),
        opts=opts,
    )
    return made


def _profile(name: str, scope: pulumi.Output[HostScope], opts: pulumi.ResourceOptions) -> aws.iam.InstanceProfile:
    role = aws.iam.Role(name, assume_role_policy=trust(EC2_SERVICE), opts=opts)
    aws.iam.RolePolicy(name, role=role.id, policy=scope.apply(host_policy), opts=opts)
    aws.iam.RolePolicyAttachment(f"{name}-shell", role=role.name, policy_arn=SESSION_MANAGER_POLICY, opts=opts)
    return aws.iam.InstanceProfile(name, role=role.name, opts=opts)


def _managers(cluster: _Cluster) -> list[aws.ec2.Instance]:
    def scope(known: Sequence[str]) -> HostScope:
        bundle_arn, hub, manager, worker = known
        return {
            "bundle": bundle_arn,
            "repositories": repository_arns(cluster.workload.images, cluster.account.partition),
            "reads": [hub, manager, worker],
            "writes": [manager, worker],
        }

    known = pulumi.Output.all(
        cluster.bundle.arn, cluster.secrets.hub.arn, cluster.secrets.manager.arn, cluster.secrets.worker.arn
    )
    profile = _profile(f"{cluster.name}-manager", known.apply(scope), cluster.opts)

    def user_data(number: int) -> pulumi.Output[str]:
        told = pulumi.Output.all(
            cluster.bundle.address,
            cluster.files.dns_name,
            cluster.secrets.hub.arn,
            cluster.secrets.manager.arn,
            cluster.secrets.worker.arn,
        )
        return told.apply(
            lambda known: node_user_data(
                {
                    "stack": cluster.name,
                    "role": "manager",
                    "founder": number == 1,
                    "invitations": {"manager": known[3], "worker": known[4]},
                    "hub_secret": known[2],
                    "group": "",
                    "lifecycle_hook": "",
                },
                bundle=known[0],
                file_system=known[1],
                region=cluster.account.region,
                images=list(cluster.workload.images),
            )
        )

    # Replaced together they would take the swarm's state with them; what they run is in the bundle, which they fetch.
    by_hand = pulumi.ResourceOptions.merge(
        cluster.opts, pulumi.ResourceOptions(ignore_changes=["ami", "userDataBase64"])
    )
    return [
        host(
            f"{cluster.name}-manager-{number}",
            image=cluster.account.image,
            instance_type=instance_types(cluster.args)["managerType"],
            subnet=cluster.net.private[(number - 1) % len(cluster.net.private)].id,
            security_groups=[cluster.groups.member.id, cluster.groups.manager.id],
            profile=profile.name,
            user_data=user_data(number),
            disk_gigabytes=ROOT_GIGABYTES,
            tags={CLUSTER_TAG: cluster.name},
            opts=by_hand,
        )
        for number in range(1, cluster.args.get("managers", DEFAULT_MANAGERS) + 1)
    ]


def _workers(cluster: _Cluster) -> aws.autoscaling.Group:
    group_name, hook = f"{cluster.name}-workers", f"{cluster.name}-leave"
    group_arn = (
        f"arn:{cluster.account.partition}:autoscaling:{cluster.account.region}:{cluster.account.id}:autoScalingGroup:*:"
        f"autoScalingGroupName/{group_name}"
    )

    def scope(known: Sequence[str]) -> HostScope:
        return {
            "bundle": known[0],
            "repositories": repository_arns(cluster.workload.images, cluster.account.partition),
            "reads": [known[1]],
            "group": group_arn,
        }

    profile = _profile(
        f"{cluster.name}-worker",
        pulumi.Output.all(cluster.bundle.arn, cluster.secrets.worker.arn).apply(scope),
        cluster.opts,
    )
    user_data = pulumi.Output.all(cluster.bundle.address, cluster.files.dns_name, cluster.secrets.worker.arn).apply(
        lambda known: node_user_data(
            {
                "stack": cluster.name,
                "role": "worker",
                "founder": False,
                "invitations": {"worker": known[2]},
                "hub_secret": "",
                "group": group_name,
                "lifecycle_hook": hook,
            },
            bundle=known[0],
            file_system=known[1],
            region=cluster.account.region,
            images=list(cluster.workload.images),
        )
    )
    template = launch_template(
        f"{cluster.name}-worker",
        image=cluster.account.image,
        instance_type=instance_types(cluster.args)["workerType"],
        security_groups=[cluster.groups.member.id, cluster.groups.worker.id],
        disk_gigabytes=ROOT_GIGABYTES,
        profile=profile.arn,
        user_data=user_data,
        opts=cluster.opts,
    )
    count = cluster.args.get("workers", DEFAULT_WORKERS)
    group = aws.autoscaling.Group(
        group_name,
        name=group_name,
        min_size=count,
        max_size=count,
        desired_capacity=count,
        vpc_zone_identifiers=[subnet.id for subnet in cluster.net.private],
        launch_template=aws.autoscaling.GroupLaunchTemplateArgs(
            id=template.id, version=template.latest_version.apply(str)
        ),
        health_check_type="EC2",
        # Hosts come up by themselves and join; an update need not wait for them.
        wait_for_capacity_timeout="0",
        tags=[
            aws.autoscaling.GroupTagArgs(key=key, value=value, propagate_at_launch=True)
            for key, value in (("Name", group_name), (CLUSTER_TAG, cluster.name))
        ],
        opts=cluster.opts,
    )
    aws.autoscaling.LifecycleHook(
        hook,
        name=hook,
        autoscaling_group_name=group.name,
        lifecycle_transition="autoscaling:EC2_INSTANCE_TERMINATING",
        heartbeat_timeout=LEAVE_SECONDS,
        default_result="CONTINUE",
        opts=cluster.opts,
    )
    return group
