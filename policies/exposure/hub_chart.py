"""Who gets into a hub that a chart makes, with which powers, what it shows to the outside, and which chart it is."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.exposure.pod_access import MOVING_TAGS
from policies.findings import Finding, undecided, violation
from policies.kubernetes.edges import is_with_tls, plain_hosts
from policies.kubernetes.hub_values import Values, hub_values, on_hub_values
from policies.reader import UNKNOWN, Value, as_mapping, holds_unknown, items, plain, read
from policies.registry import REGISTRY
from policies.resource_types import CHART, RELEASE, YAML

OPEN_AUTHENTICATORS = re.compile(
    r"(^|\.)(tmp|dummy|null|nullauthenticator|\w*(tmp|dummy|null)authenticator)$", re.IGNORECASE
)
"""Names and classes of authenticators that let everybody in."""

LOCAL = re.compile(r"(/|\.\.?/).*|.*\.tgz")
"""Charts that are on the machine whatever repositories there are."""

VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+.][0-9A-Za-z.+-]+)?")

HTTPS_TYPES = ("letsencrypt", "manual", "secret", "offload")
"""Values of `proxy.https.type` with which the chart has TLS."""

EVERYBODYS_ROLES = ("user", "server", "token")
"""Roles of JupyterHub's own that users, or their servers, have without being named in them."""

POWERS = (
    "access:servers",
    "admin-ui",
    "admin:",
    "delete:",
    "groups",
    "proxy",
    "servers",
    "shutdown",
    "tokens",
    "users",
)
"""Beginnings of JupyterHub's scopes over others' accounts and servers, and over the hub (JupyterHub: scopes)."""


@REGISTRY.check(
    "hub-authenticator",
    family="exposure",
    severity="critical",
    types=(RELEASE, CHART),
    remediation="Ask for a password, or set allowOpenHub in the policy pack's configuration.",
)
@on_hub_values
def hub_authenticator(values: Values, config: Mapping[str, Any]) -> Iterator[Finding]:
    """A hub asks who comes: the chart's default is `dummy`, which lets everybody in under any name."""
    own = values.config("JupyterHub", "authenticator_class")
    name = values.get("hub.config.JupyterHub.authenticator_class") if own is None else own
    if name is UNKNOWN:
        yield undecided("hub.config.JupyterHub.authenticator_class")
    elif OPEN_AUTHENTICATORS.search(str(name)) and not config.get("allowOpenHub"):
        yield violation(f"lets everybody in (authenticator_class is {name!r})")


@REGISTRY.check(
    "hub-tls",
    family="exposure",
    severity="critical",
    types=(RELEASE, CHART),
    remediation="Set proxy.service.type to ClusterIP behind an Ingress or a route with TLS, or proxy.https with its hosts.",
)
@on_hub_values
def hub_tls(values: Values, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Passwords and notebooks go over TLS: the chart's default is a load balancer without it."""
    yield from _proxy(values)
    own = values.get("hub.service.type")
    if own is UNKNOWN:
        yield undecided("hub.service.type")
    elif own != "ClusterIP":
        yield violation(f"faces the outside past its proxy, without TLS (hub.service.type is {own!r})")
    ingress = values.get("ingress.enabled")
    if ingress is UNKNOWN:
        yield undecided("ingress")
    elif ingress:
        hosts, tls = (list(items(values.get(f"ingress.{key}"))) for key in ("hosts", "tls"))
        for host in plain_hosts(hosts, tls):
            what = f"serves {host or 'every host'} without TLS"
            yield undecided("ingress") if host is UNKNOWN else violation(f"has an Ingress that {what} (ingress.tls)")
    route = values.get("httpRoute.enabled")
    if route is UNKNOWN:
        yield undecided("httpRoute")
    elif route:
        for parent in [*items(values.get("httpRoute.parentRefs"))] or [values.get("httpRoute.gateway")]:
            yield from _listener(parent)


def _proxy(values: Values) -> Iterator[Finding]:
    service, enabled = values.get("proxy.service.type"), values.get("proxy.https.enabled")
    kind, hosts = values.get("proxy.https.type"), values.get("proxy.https.hosts")
    if UNKNOWN in (service, enabled):
        yield undecided("proxy.service.type")
    elif service != "ClusterIP" and not enabled:
        yield violation(f"faces the outside without TLS (proxy.service.type is {service!r}, https is off)")
    elif enabled and kind is UNKNOWN:
        yield undecided("proxy.https.type")
    elif enabled and kind not in HTTPS_TYPES:
        yield violation(f"has no TLS though it is on: proxy.https.type is {kind!r}; one of {', '.join(HTTPS_TYPES)}")
    elif enabled and kind == "letsencrypt" and hosts is not UNKNOWN and not hosts:
        yield violation("has no TLS though it is on: for Let's Encrypt proxy.https.hosts must name the hosts")


def _listener(parent: Value) -> Iterator[Finding]:
    section = read(parent, "sectionName")
    if section is None:
        yield violation("hangs on every listener of its Gateway, one without TLS among them (httpRoute, sectionName)")
    elif not is_with_tls(section):
        yield undecided(f"whether the listener {section!r} of httpRoute ends TLS")


@REGISTRY.check(
    "hub-images-pinned",
    family="exposure",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Give each image the tag of one version, with its digest where it has one.",
)
@on_hub_values
def hub_images_pinned(values: Values, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Every image that the values name is one version's."""
    for path, tag in _tags(values.given, ""):
        if tag is not UNKNOWN and str(tag).partition("@")[0] in MOVING_TAGS and "@sha256:" not in str(tag):
            yield violation(f"runs another image tomorrow ({path}.tag is {tag!r})")
    for name, image in as_mapping(read(values.given, "prePuller", "extraImages")).items():
        if read(image, "tag") is None:
            yield violation(f"pulls another image tomorrow (prePuller.extraImages.{name} has no tag)")


def _tags(values: Value, path: str) -> Iterator[tuple[str, Value]]:
    for key, value in as_mapping(values).items():
        if key == "tag":
            yield path, value
        else:
            yield from _tags(value, f"{path}.{key}" if path else key)


@REGISTRY.check(
    "hub-roles",
    family="exposure",
    severity="critical",
    types=(RELEASE, CHART),
    remediation="Give such scopes to a service of hub.services alone.",
)
@on_hub_values
def hub_roles(values: Values, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No role gives users power over others' servers or over the hub (JupyterHub: roles and scopes)."""
    roles = values.get("hub.loadRoles")
    for key, role in (("", UNKNOWN),) if roles is UNKNOWN else as_mapping(roles).items():
        name = read(role, "name") or key
        holders = [*items(role, "users"), *items(role, "groups")]
        scopes = list(items(role, "scopes"))
        if UNKNOWN in (role, name, *scopes):
            yield undecided("hub.loadRoles")
        elif name == "admin" and holders:
            yield violation(f"makes administrators of {_listed(holders)} (hub.loadRoles.{key})")
        elif holders or name in EVERYBODYS_ROLES:
            powers = [str(scope) for scope in scopes if _is_power(str(scope))]
            if powers:
                whom = _listed(holders) or "every user"
                yield violation(f"gives {whom} the scopes {', '.join(powers)} (hub.loadRoles.{key})")


def _is_power(scope: str) -> bool:
    """Whether a scope is one over others: those with the filter `user` or `server` are of whoever has it alone."""
    base, _, owner = scope.partition("!")
    return owner not in ("user", "server") and base.startswith(POWERS)


def _listed(holders: list[Value]) -> str:
    return ", ".join("somebody" if holder is UNKNOWN else str(holder) for holder in holders)


@REGISTRY.check(
    "chart-version",
    family="exposure",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Set version to one version, or chart to an archive or folder of it, with a path that begins with / or a dot.",
)
def chart_version(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A chart is one version's: without one, each update takes the newest that there is.

    An archive or folder is the version that it is; Helm takes `a/b` for the chart b of the repository a, unless there is
    a folder `a/b`.
    """
    chart, version = read(properties, "chart"), read(properties, "version")
    if version is UNKNOWN or (version is None and chart is UNKNOWN):
        yield undecided("version")
    elif version is None and "://" not in str(chart) and LOCAL.fullmatch(str(chart)):
        return
    elif not VERSION.fullmatch(str(version)):
        yield violation(f"takes whatever version of {chart} there is (version is {version!r})")


@REGISTRY.check(
    "chart-known",
    family="exposure",
    severity="medium",
    types=(RELEASE,),
    remediation="Look at what it makes, and name the chart in knownCharts of the policy pack's configuration.",
)
def chart_known(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """What Helm makes of a chart is known: no resource of the stack shows it, nor what a program makes of it after."""
    chart = read(properties, "chart")
    known: list[str] = config.get("knownCharts") or []
    if hub_values(properties) is None and str(chart) not in known:
        yield undecided(f"what the chart {chart!r} makes")
    if read(properties, "postrender") is not None:
        yield undecided(f"what {read(properties, 'postrender')!r} makes of the chart's objects")
    if read(properties, "createNamespace"):
        yield violation("makes a namespace that has no quota, labels or policies (createNamespace is true)")


@REGISTRY.check(
    "manifests-known",
    family="exposure",
    severity="medium",
    types=YAML,
    remediation="Wait for the update: each object is judged as a resource of its own before it is made.",
)
def manifests_known(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What files of manifests make is known: their objects are resources of the stack, once the files are."""
    for key in ("file", "files", "yaml", "objs", "resources", "directory"):
        if holds_unknown(plain(read(properties, key))):
            yield undecided(key)
