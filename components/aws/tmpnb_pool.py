"""A pool on AWS: what its hosts share, the hosts, and the names of nodes elsewhere."""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from components.aws.account import Account, read_account
from components.aws.budget import monthly_budget
from components.aws.deletion_action import ProviderStart
from components.aws.dns import address_record
from components.aws.firewall import EVERYWHERE, HTTP, HTTPS, Rule, egress_rules, let_in, let_out, security_group
from components.aws.health_alarms import alarm_topic, https_check_with_alarm
from components.aws.network import public_network
from components.aws.registry_images import image_mistakes
from components.aws.storage import private_bucket
from components.aws.subnets import plan_subnets
from components.aws.tmpnb_host import HEALTH_PATH, HostSettings, PoolPlace, TmpnbHost
from components.aws.tmpnb_plan import (
    DEFAULT_CIDR,
    DEFAULT_ZONES,
    NodeHost,
    PoolOnEc2,
    check_memory,
    instance_types,
    quota_needs,
)
from components.egress import EgressProfile
from runtime.container_group import GroupSpec


def pool_place(
    name: str,
    args: PoolOnEc2,
    account: Account,
    alarms: aws.sns.Topic,
    servers_reach: Sequence[Rule],
    asked: Sequence[tuple[str, int]],
    opts: pulumi.ResourceOptions,
) -> PoolPlace:
    """Declare what all hosts of a pool share.

    Args:
        name: prefix of the resources' names, and the value of the hosts' tag.
        args: arguments that were checked.
        account: what AWS said of the account.
        alarms: who hears that a host does not answer.
        servers_reach: what servers may reach; nodes enforce it, and hosts must let it through.
        asked: address and port of what the redirector asks beside HTTPS's own port.
        opts: resource options.
    """
    net = public_network(
        name, plan_subnets(args.get("cidr", DEFAULT_CIDR), args.get("zones", DEFAULT_ZONES)), account.zones, opts
    )
    web, servers = (
        security_group(f"{name}-{label}", net.vpc.id, text, opts)
        for label, text in (("web", "Visitors reach hosts, and hosts the web"), ("servers", "What servers may reach"))
    )
    everybody = [
        Rule("everybody-https", "tcp", (HTTPS, HTTPS), cidr=EVERYWHERE),
        # Let's Encrypt asks here, and browsers are sent on to HTTPS.
        Rule("everybody-http", "tcp", (HTTP, HTTP), cidr=EVERYWHERE),
    ]
    # Packages, images, certificates, other nodes and AWS's own interfaces are all behind HTTPS or Debian's HTTP mirrors.
    outward = [
        Rule("internet-https", "tcp", (HTTPS, HTTPS), cidr=EVERYWHERE),
        Rule("internet-http", "tcp", (HTTP, HTTP), cidr=EVERYWHERE),
        *(Rule(f"node-{address}-{port}", "tcp", (port, port), cidr=f"{address}/32") for address, port in asked),
    ]
    ways = let_in(f"{name}-web", web, everybody, opts) + let_out(f"{name}-web", web, outward, opts)
    ways += let_out(f"{name}-servers", servers, servers_reach, opts)
    return PoolPlace(
        pool=name,
        account=account,
        alarms=alarms,
        bucket=private_bucket(f"{name}-bundles", opts),
        subnets=[subnet.id for subnet in net.public],
        security_groups=[web.id, servers.id],
        ways=[*net.ways, *ways],
        farewells=ProviderStart(f"{name}-farewells", opts),
    )


def servers_rules(profile: EgressProfile, ports: Sequence[int]) -> Sequence[Rule]:
    """What a node must let its servers through to, beyond the web; the node's guard keeps them from all else."""
    if profile is EgressProfile.PORTS:
        beyond = sorted(set(ports) - {HTTP, HTTPS})
        return [Rule(f"port-{port}", "tcp", (port, port), cidr=EVERYWHERE) for port in beyond]
    return egress_rules(profile)


class PoolOnAws:
    """What a pool has on AWS: names in a hosted zone, and hosts for what of it names no engine."""

    names: list[aws.route53.Record]
    """The records of what was declared so far."""

    def __init__(
        self,
        name: str,
        args: PoolOnEc2,
        hosts: Sequence[NodeHost],
        platform_bytes: Mapping[str, int],
        images: Mapping[str, str],
        email: str,
        profile: EgressProfile,
        ports: Sequence[int],
        *,
        redirector: bool,
        asked: Sequence[tuple[str, int]],
        parent: pulumi.Resource,
    ) -> None:
        """Ask the account, and declare what all hosts share if there is any.

        Args:
            name: prefix of the resources' names.
            args: arguments that were checked.
            hosts: the nodes on instances.
            platform_bytes: memory that the containers of a node's own may take, by its name.
            images: the images of hosts by digest, by the argument that names each.
            email: the owner's address, which hears that a host does not answer where no other is named for it.
            profile: what servers may reach.
            ports: TCP ports of public addresses under the profile `ports`.
            redirector: whether the redirector is on an instance.
            asked: address and port of what the redirector asks beside HTTPS's own port.
            parent: the pool.

        Raises:
            pulumi.InputPropertiesError: the account lacks something; everything is listed.
        """
        self._name, self._args, self.names = name, args, []
        self._opts = pulumi.ResourceOptions(parent=parent)
        any_hosts = bool(hosts) or redirector
        self._account = read_account(
            hosted_zone_name=args["zone"],
            zones=args.get("zones", DEFAULT_ZONES) if any_hosts else 0,
            image=args.get("image"),
            instance_types=instance_types(args, hosts, redirector=redirector),
            needs=lambda sizes: quota_needs(sizes, hosts, redirector=redirector),
            opts=pulumi.InvokeOptions(parent=parent),
        )
        errors = self._account.errors + check_memory(self._account.sizes, hosts, platform_bytes)
        errors += image_mistakes(images, pulumi.InvokeOptions(parent=parent))
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed to account {self._account.id}", errors)
        monthly_budget(name, args.get("monthlyBudget"), args.get("budgetEmail"), self._opts)
        self._alarms = alarm_topic(name, args.get("alarmEmail", email), self._opts)
        self._place = (
            pool_place(name, args, self._account, self._alarms, servers_rules(profile, ports), asked, self._opts)
            if any_hosts
            else None
        )

    def host(
        self,
        name: str,
        group: GroupSpec,
        images: Mapping[str, str],
        secrets: Mapping[str, pulumi.Input[str]],
        *,
        domain: str,
        instance_type: str,
        number: int,
        drain_seconds: int | None,
        after: Sequence[pulumi.Resource] = (),
    ) -> pulumi.Output[str]:
        """Declare an instance for a group of containers; its address.

        Args:
            name: the resource's name.
            group: the containers.
            images: their images by digest, by short name.
            secrets: what they must know, by name.
            domain: the host's name in the zone.
            instance_type: what the instance is.
            number: which of the subnets it is in, modulo their count.
            drain_seconds: how long its users get when it is removed; None where it has none.
            after: what is there before the host hears of its containers.

        Raises:
            ValueError: the pool was declared without hosts.
        """
        if self._place is None:
            raise ValueError(f"{name} was not counted among the hosts")
        settings = HostSettings(group, images, domain, instance_type, number, drain_seconds, after)
        made = TmpnbHost(name, self._place, settings, secrets, self._opts)
        self.names.append(made.record)
        return made.url

    def name_of_another(self, name: str, domain: str, address: str, port: int) -> None:
        """A record, a health check and its alarm for a node or a redirector on an engine that the stack finds.

        Args:
            name: the resources' name.
            domain: its name in the zone.
            address: IPv4 address of the engine's host.
            port: its published port.
        """
        self.names.append(address_record(name, self._account.zone_id, domain, address, self._opts))
        https_check_with_alarm(name, domain, HEALTH_PATH, self._alarms, self._opts, port=port)
