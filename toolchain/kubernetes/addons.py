"""What is put into the cluster through its own API: its system's objects, and a gateway where one is asked for."""

import base64
import json
import shutil
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightkube
from lightkube import codecs
from lightkube.generic_resource import load_in_cluster_generic_resources

from toolchain.cache import made_whole
from toolchain.gobuild import SOURCES
from toolchain.kubernetes import configuration, programs
from toolchain.kubernetes.certificates import Authority
from toolchain.progress import run

MANIFESTS = Path(__file__).parent / "manifests"

GATEWAY_DOMAINS = ("example.org", "*.example.org")
"""Names that the gateway's certificate holds for, signed by the cluster's own authority."""


def image(name: str) -> str:
    """The image of a part that runs in a pod."""
    return f"hubstack.test/{name}:{programs.version(programs.PARTS[name])}"


def apply_system(client: lightkube.Client) -> None:
    """Rights of the cluster's parts, DNS and the storage class."""
    values = {
        "RESOLVER": configuration.RESOLVER,
        "DNS_SERVICE": configuration.DNS_SERVICE,
        "COREDNS": image("coredns"),
    }
    _apply(client, (MANIFESTS / "system.yaml").read_text(), values)


def gateway_definitions(cache: Path) -> Path:
    """The folder with Gateway API's own definitions, standard channel, from the module that the gateway is built with."""
    module = "sigs.k8s.io/gateway-api"

    def make(target: Path) -> None:
        told = run(f"downloading {module}", ["go", "mod", "download", "-json", module], folder=SOURCES / "traefik")
        shutil.copytree(Path(json.loads(told)["Dir"], "config", "crd", "standard"), target)

    return made_whole(cache / f"gateway-api-{programs.required('traefik', module)}", make)


def apply_gateway_definitions(kubeconfig: Path, cache: Path) -> None:
    """Gateway API's kinds, with nothing that serves them yet."""
    # Thousands of lines, which a reader in Python takes seconds for.
    kubectl = [str(programs.build(cache, "kubernetes") / "kubectl"), f"--kubeconfig={kubeconfig}"]
    folder = str(gateway_definitions(cache))
    run("applying Gateway API's definitions", [*kubectl, "apply", "--server-side", "-f", folder], limit=60)
    run("waiting for Gateway API", [*kubectl, "wait", "--for=condition=Established", "-f", folder], limit=60)


def apply_gateway(
    client: lightkube.Client, kubeconfig: Path, cache: Path, authority: Authority, address: str, domains: Sequence[str]
) -> None:
    """Gateway API's kinds and Traefik, which serves HTTPRoutes at `address` on ports 80 and 443."""
    apply_gateway_definitions(kubeconfig, cache)
    load_in_cluster_generic_resources(client)
    certificate, key = authority.sign(domains[0], serves=domains)
    values = {
        "ADDRESS": address,
        "TRAEFIK": image("traefik"),
        "CERTIFICATE": base64.b64encode(certificate).decode(),
        "KEY": base64.b64encode(key).decode(),
    }
    _apply(client, (MANIFESTS / "gateway.yaml").read_text(), values)


def _apply(client: lightkube.Client, text: str, values: Mapping[str, str]) -> None:
    for entity in codecs.load_all_yaml(string.Template(text).substitute(values)):
        client.apply(entity)
