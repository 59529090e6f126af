"""Where a cluster meets the outside: services, routes, namespaces' own guards, volumes, admission."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.kubernetes.edges import is_with_tls, plain_hosts
from policies.reader import UNKNOWN, Value, is_number, items, read
from policies.registry import REGISTRY
from policies.resource_types import (
    ADMISSION_BINDING,
    ADMISSION_POLICY,
    HTTP_ROUTE,
    INGRESS,
    KUBERNETES_SERVICE,
    NAMESPACE,
    PERSISTENT_VOLUME,
)

HTTPS = 443
ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("baseline", "restricted")


@REGISTRY.check(
    "service-exposed",
    family="exposure",
    severity="high",
    types=(KUBERNETES_SERVICE,),
    remediation="Make it a ClusterIP and let an Ingress or a Gateway with TLS lead to it.",
)
def service_exposed(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No service faces the outside past the one that ends TLS (NSA Kubernetes guide: network separation)."""
    kind = read(properties, "spec", "type")
    if kind is UNKNOWN:
        yield undecided("spec.type")
    elif kind in ("LoadBalancer", "NodePort"):
        yield violation(f"faces the outside (spec.type is {kind})")
    for address in items(properties, "spec", "externalIPs"):
        yield undecided("spec.externalIPs") if address is UNKNOWN else violation(f"takes traffic to {address}")


@REGISTRY.check(
    "ingress-tls",
    family="exposure",
    severity="critical",
    types=(INGRESS,),
    remediation="Name every host under tls, with the secret that has its certificate.",
)
def ingress_tls(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """An Ingress ends TLS for every host that it has (NSA Kubernetes guide: encryption)."""
    hosts = [read(rule, "host") for rule in items(properties, "spec", "rules")]
    for host in plain_hosts(hosts, list(items(properties, "spec", "tls"))):
        yield undecided("spec.tls") if host is UNKNOWN else violation(f"serves {host or 'every host'} without TLS")


@REGISTRY.check(
    "route-tls",
    family="exposure",
    severity="critical",
    types=(HTTP_ROUTE,),
    remediation="Name the Gateway's HTTPS listener in sectionName of each parentRef, or port 443.",
)
def route_tls(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A route hangs on a Gateway's HTTPS listener, unless it only leads there.

    A parent without sectionName and port means every listener, plain HTTP among them.
    """
    filters = [list(items(rule, "filters")) for rule in items(properties, "spec", "rules")]
    if filters and all(any(_leads_to_https(found) for found in given) for given in filters):
        return
    parents = list(items(properties, "spec", "parentRefs"))
    for parent in parents:
        section, port = read(parent, "sectionName"), read(parent, "port")
        if is_number(port) and port == HTTPS:
            continue
        if UNKNOWN in (section, port):
            yield undecided("spec.parentRefs")
        elif section is None:
            yield violation(
                f"hangs on every listener of the Gateway {read(parent, 'name')!r}, one without TLS among them"
            )
        elif not is_with_tls(section):
            yield undecided(f"whether the listener {section!r} ends TLS")
    if not parents:
        yield violation("hangs on no Gateway's listener (spec.parentRefs is empty)")


def _leads_to_https(given: Value) -> bool:
    return read(given, "type") == "RequestRedirect" and read(given, "requestRedirect", "scheme") == "https"


@REGISTRY.check(
    "namespace-pod-security",
    family="exposure",
    severity="high",
    types=(NAMESPACE,),
    remediation=f"Set the label {ENFORCE} to restricted, or to baseline.",
)
def namespace_pod_security(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A namespace refuses pods that could take their node (CIS Kubernetes 5.2.1; Pod Security Standards)."""
    level = read(properties, "metadata", "labels", ENFORCE)
    if level is UNKNOWN:
        yield undecided(f"the label {ENFORCE}")
    elif level not in LEVELS:
        yield violation(f"takes any pod (the label {ENFORCE} is {level!r})")


@REGISTRY.check(
    "volume-of-a-node",
    family="exposure",
    severity="high",
    types=(PERSISTENT_VOLUME,),
    remediation="Use a volume of the network, or of a storage class.",
)
def volume_of_a_node(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No volume is a folder of a node (CIS Kubernetes 5.1.9, 5.2.12)."""
    for key in ("hostPath", "local"):
        source = read(properties, "spec", key)
        if source is UNKNOWN:
            yield undecided(f"spec.{key}")
        elif source is not None:
            yield violation(f"is the folder {read(source, 'path')!r} of a node")


@REGISTRY.check(
    "volume-read-only",
    family="exposure",
    severity="high",
    types=(PERSISTENT_VOLUME,),
    remediation='Set readOnly of its source to true, or add "ro" to mountOptions: accessModes alone hold nobody back.',
)
def volume_read_only(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A volume that is meant for reading cannot be written, by its source or by how it is mounted."""
    modes = list(items(properties, "spec", "accessModes"))
    if UNKNOWN in modes:
        yield undecided("spec.accessModes")
        return
    if modes != ["ReadOnlyMany"]:
        return
    options = list(items(properties, "spec", "mountOptions"))
    shut = [
        read(properties, "spec", source, "readOnly") for source in ("nfs", "csi", "cephfs", "glusterfs", "azureFile")
    ]
    if True in shut or "ro" in options:
        return
    if UNKNOWN in (*shut, *options):
        yield undecided("readOnly of its source")
    else:
        yield violation("is meant for reading (ReadOnlyMany) and can be written")


@REGISTRY.check(
    "admission-enforced",
    family="exposure",
    severity="critical",
    types=(ADMISSION_BINDING, ADMISSION_POLICY),
    remediation="Set validationActions of the binding to Deny and failurePolicy of the policy to Fail.",
)
def admission_enforced(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What an admission policy finds wrong is refused, not only told or written down."""
    failure = read(properties, "spec", "failurePolicy")
    if read(properties, "spec", "policyName") is None:
        # A policy: Kubernetes' default is Fail.
        if failure is UNKNOWN:
            yield undecided("spec.failurePolicy")
        elif failure not in (None, "Fail"):
            yield violation(f"lets through what it cannot judge (failurePolicy is {failure!r})")
        return
    actions = list(items(properties, "spec", "validationActions"))
    if "Deny" in actions:
        return
    yield undecided("spec.validationActions") if UNKNOWN in actions else violation(f"refuses nothing ({actions!r})")
