"""Temporary notebooks on any number of nodes, handed out in milliseconds (seed 000)."""

import functools
import hmac
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from components.aws.tmpnb_plan import DEFAULT_REDIRECTOR_TYPE
from components.docker.build_context import REGISTRY_IMAGE
from components.docker.container_group import ContainerGroup
from components.docker.images import build_image
from components.docker.redirector import RedirectorSettings, redirector_group
from components.docker.tls_proxy import Certificate, self_signed_certificate
from components.docker.tmpnb_node import TmpnbNode, node_group
from components.docker.tmpnb_plan import NodeSettings
from components.egress import EgressProfile
from components.pool_arguments import (
    DEFAULT_DOMAIN,
    DEFAULT_ENGINE,
    TmpnbNodeArgs,
    TmpnbNodePoolArgs,
    declared_nodes,
    engine_of,
    has_egress_proxy,
    is_local,
    is_on_ec2,
    node_type,
    redirector_engine,
    redirector_url,
)
from components.pool_checks import check_tmpnb_node_pool
from components.pool_plan import (
    engines_asked,
    hosted_images,
    hosted_nodes,
    named_images,
    node_settings,
    platform_bytes,
    redirector_settings,
)
from components.random_secrets import random_token

if TYPE_CHECKING:
    from components.aws.tmpnb_pool import PoolOnAws


class TmpnbNodePool(pulumi.ComponentResource):
    """Nodes that keep servers started for whoever comes, and a redirector that sends each visitor to one with room.

    Servers belong to nobody and keep nothing. They are limited in everything, reach what the egress profile opens, and
    never each other or the host.
    """

    url: pulumi.Output[str]
    """Address of the redirector, known once it works."""
    nodeUrls: pulumi.Output[dict[str, str]]
    """Addresses of the nodes by name."""
    adminToken: pulumi.Output[str]
    """Token of the nodes' administration, a secret."""

    def __init__(self, name: str, args: TmpnbNodePoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the pool.

        Args:
            name: prefix of everything on the engines, and the value of the label `hubstack.stack`.
            args: see `TmpnbNodePoolArgs`.
            opts: resource options.

        Raises:
            pulumi.InputPropertiesError: arguments are wrong; every mistake is listed.
        """
        super().__init__("hubstack:index:TmpnbNodePool", name, {}, opts)
        errors = check_tmpnb_node_pool(args)
        if errors:
            raise pulumi.InputPropertiesError(f"{name} cannot be deployed", errors)
        self._name, self._args = name, args
        self._local = pulumi.ResourceOptions(parent=self)
        images = self._images()
        certificate = self._certificate()
        admin_token = random_token(f"{name}-admin-token", self._local)
        proxy_key = random_token(f"{name}-proxy-key", self._local)
        nodes, declared = node_settings(name, args), declared_nodes(args)
        redirecting = redirector_settings(name, args, nodes)
        on_aws = self._on_aws(nodes)
        node_urls = {
            node.name: self._node(
                node,
                declared[node.name],
                {**images, "notebook": declared[node.name].get("image") or images["notebook"]},
                {
                    "proxy-token": proxy_key.apply(functools.partial(node_token, node.name)),
                    "admin-token": admin_token,
                    **certificate_files(certificate),
                },
                on_aws,
            )
            for node in nodes
        }
        self.url = self._redirector(redirecting, images, certificate_files(certificate), on_aws)
        self.nodeUrls = pulumi.Output.all(**node_urls).apply(dict)
        self.adminToken = admin_token
        self.register_outputs({"url": self.url, "nodeUrls": self.nodeUrls, "adminToken": self.adminToken})

    def _on_aws(self, nodes: Sequence[NodeSettings]) -> "PoolOnAws | None":
        """What the pool has on AWS; nothing where it is not to have anything there.

        Raises:
            pulumi.InputPropertiesError: the account lacks something; everything is listed.
        """
        if "ec2" not in self._args:
            return None
        # Stacks that deploy to no cloud need not wait for its SDK.
        from components.aws.tmpnb_pool import PoolOnAws  # noqa: PLC0415

        args = self._args
        profile = EgressProfile(args.get("egressProfile", EgressProfile.CLOSED))
        ports, redirector = args.get("egressPorts", []), is_on_ec2(redirector_engine(args))
        return PoolOnAws(
            self._name,
            args["ec2"],
            hosted_nodes(args),
            platform_bytes(nodes),
            hosted_images(args),
            args.get("email", ""),
            profile,
            ports,
            redirector=redirector,
            asked=engines_asked(args),
            parent=self,
        )

    def _node(
        self,
        node: NodeSettings,
        declared: TmpnbNodeArgs,
        images: Mapping[str, pulumi.Input[str]],
        secrets: Mapping[str, pulumi.Input[str]],
        on_aws: "PoolOnAws | None",
    ) -> pulumi.Output[str]:
        """Declare a node; its address."""
        name, engine = f"{self._name}-{node.name}", engine_of(self._args, declared)
        domain = f"{node.name}.{self._args.get('domain', DEFAULT_DOMAIN)}"
        if on_aws and is_on_ec2(engine):
            group = node_group(node)
            return on_aws.host(
                name,
                group,
                named_images(group, images),
                secrets,
                domain=domain,
                instance_type=node_type(self._args, declared),
                number=node.number,
                drain_seconds=node.drain_seconds,
            )
        if on_aws:
            on_aws.name_of_another(name, domain, declared.get("address", ""), node.port)
        return TmpnbNode(name, engine, node, images, secrets, self._local).url

    def _redirector(
        self,
        settings: RedirectorSettings,
        images: Mapping[str, pulumi.Input[str]],
        secrets: Mapping[str, pulumi.Input[str]],
        on_aws: "PoolOnAws | None",
    ) -> pulumi.Output[str]:
        """Declare the redirector; its address."""
        name, engine, group = f"{self._name}-redirector", redirector_engine(self._args), redirector_group(settings)
        # A name that is asked for too early is not there for as long as its zone says, a quarter of an hour.
        nodes = [*on_aws.names] if on_aws else []
        if on_aws and is_on_ec2(engine):
            return on_aws.host(
                name,
                group,
                named_images(group, images),
                secrets,
                domain=settings.domain,
                instance_type=self._args.get("ec2", {}).get("managerType", DEFAULT_REDIRECTOR_TYPE),
                number=0,
                drain_seconds=None,
                after=nodes,
            )
        if on_aws:
            on_aws.name_of_another(name, settings.domain, self._args.get("address", ""), settings.port)
        deployed = ContainerGroup(
            name,
            {
                "engine": engine,
                "spec": group,
                "images": {"redirector": images["redirector"]},
                "secrets": secrets,
            },
            pulumi.ResourceOptions(parent=self, depends_on=nodes),
        )
        address = redirector_url(self._args)
        return deployed.id.apply(lambda _: address)

    def _certificate(self) -> Certificate | None:
        domain = self._args.get("domain", DEFAULT_DOMAIN)
        if not is_local(self._args):
            return None
        return self_signed_certificate(f"{self._name}-tls", domain, self._local, more_domains=[f"*.{domain}"])

    def _images(self) -> Mapping[str, pulumi.Input[str]]:
        """Images by short name: those that are named, and the others built on this machine's engine."""
        given = {
            "node": self._args.get("nodeImage"),
            "redirector": self._args.get("redirectorImage"),
            "notebook": self._args.get("notebookImage"),
            **({"egress-proxy": self._args.get("egressProxyImage")} if has_egress_proxy(self._args) else {}),
        }
        named: dict[str, pulumi.Input[str]] = {label: image for label, image in given.items() if image}
        if len(named) == len(given):
            return named
        rootfs = not self._args.get("buildFromRegistry", False)
        source: dict[str, pulumi.Input[str]] = {"SOURCE": "scratch" if rootfs else REGISTRY_IMAGE}
        provider = docker.Provider(f"{self._name}-engine", host=DEFAULT_ENGINE, opts=self._local)
        opts = pulumi.ResourceOptions(parent=self, provider=provider)

        def built(label: str, image: str, build_args: dict[str, pulumi.Input[str]], base: str) -> docker.RemoteImage:
            name = f"{self._name}-{label}-image"
            return build_image(name, image, rootfs=rootfs, build_args=build_args, base_digest=base, opts=opts)[0]

        made = dict(named)
        for label, folder in (("node", "tmpnb-node"), ("redirector", "redirector"), ("egress-proxy", "egress-proxy")):
            if label in given and label not in made:
                made[label] = built(label, folder, source, "").image_id
        if "notebook" not in made:
            base, digest = build_image(
                f"{self._name}-base", "base", rootfs=rootfs, build_args=source, base_digest="", opts=opts
            )
            made["notebook"] = built("notebook", "notebook", {"BASE": base.name}, digest).image_id
        return made


def certificate_files(certificate: Certificate | None) -> dict[str, pulumi.Input[str]]:
    """The certificate as the TLS proxies read it; nothing where Let's Encrypt gives them theirs."""
    return {"tls-cert": certificate.chain, "tls-key": certificate.key} if certificate else {}


def node_token(node: str, key: str) -> str:
    """The token of a node's proxy, from a key that no node has: it tells nothing of that or of others' (RFC 2104).

    A random one for each would be a third of all resources, and of the time that declaring them takes.
    """
    return hmac.digest(key.encode(), node.encode(), "sha256").hex()
