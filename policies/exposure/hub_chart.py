"""Who gets into a hub that a chart makes, what it shows to the outside, and what it runs, by its values."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.exposure.pod_access import MOVING_TAGS
from policies.findings import Finding, undecided, violation
from policies.kubernetes.hub_values import Values, digest, hub_values, is_harmless, on_hub_values
from policies.reader import UNKNOWN, Value, as_mapping, holds_unknown, items, plain, read
from policies.registry import REGISTRY
from policies.resource_types import CHART, RELEASE, YAML

OPEN_AUTHENTICATORS = re.compile(
    r"(^|\.)(tmp|dummy|null|nullauthenticator|\w*(tmp|dummy|null)authenticator)$", re.IGNORECASE
)
"""Names and classes of authenticators that let everybody in."""

VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+.][0-9A-Za-z.+-]+)?")

SECRETS = (
    ("hub", "config", "SharedPasswordAuthenticator", "user_password"),
    ("hub", "config", "SharedPasswordAuthenticator", "admin_password"),
    ("hub", "config", "DummyAuthenticator", "password"),
    ("hub", "db", "password"),
    ("imagePullSecret", "password"),
    ("proxy", "https", "manual", "key"),
)
"""Secrets of people in the chart's values; the hub's own tokens are made for it and must stand there."""

OAUTH_SECRET = "client_secret"  # noqa: S105  (a trait's name)
CONFIG_FOLDER = "jupyterhub_config.d"


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
    service, enabled = values.get("proxy.service.type"), values.get("proxy.https.enabled")
    kind, hosts = values.get("proxy.https.type"), values.get("proxy.https.hosts")
    if UNKNOWN in (service, enabled):
        yield undecided("proxy.service.type")
    elif service != "ClusterIP" and not enabled:
        yield violation(f"faces the outside without TLS (proxy.service.type is {service!r}, https is off)")
    elif enabled and kind == "letsencrypt" and hosts is not UNKNOWN and not hosts:
        yield violation("has no TLS though it is on: for Let's Encrypt proxy.https.hosts must name the hosts")
    ingress, tls = values.get("ingress.enabled"), values.get("ingress.tls")
    if ingress is UNKNOWN or (ingress and tls is UNKNOWN):
        yield undecided("ingress")
    elif ingress and not tls:
        yield violation("has an Ingress without TLS (ingress.tls is empty)")
    route = values.get("httpRoute.enabled")
    if route is UNKNOWN:
        yield undecided("httpRoute")
    elif route:
        for parent in [*items(values.get("httpRoute.parentRefs"))] or [values.get("httpRoute.gateway")]:
            yield from _listener(parent)


def _listener(parent: Value) -> Iterator[Finding]:
    section = read(parent, "sectionName")
    if section is None:
        yield violation("hangs on every listener of its Gateway, one without TLS among them (httpRoute, sectionName)")
    elif section is UNKNOWN or not any(word in str(section).lower() for word in ("https", "tls")):
        yield undecided(f"whether the listener {section!r} of httpRoute ends TLS")


@REGISTRY.check(
    "hub-secret-in-values",
    family="exposure",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Keep it in a Secret of its own and name that in hub.existingSecret.",
)
@on_hub_values
def hub_secret_in_values(values: Values, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No password stands in a chart's values, which Helm keeps in each of its revisions (CIS Kubernetes 5.4.1)."""
    for path in SECRETS:
        yield from _secret(read(values.given, *path[:-1]), path[-1], ".".join(path))
    for section, traits in as_mapping(read(values.given, "hub", "config")).items():
        yield from _secret(traits, OAUTH_SECRET, f"hub.config.{section}.{OAUTH_SECRET}")


def _secret(holder: Value, key: str, path: str) -> Iterator[Finding]:
    # Its text may be unknown; that it stands there is not.
    if holder is UNKNOWN:
        yield undecided(path)
    elif as_mapping(holder).get(key) not in (None, ""):
        yield violation(f"has a secret in {path}")


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
    "hub-code",
    family="exposure",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Read it, and name its SHA-256 in reviewedCode of the policy pack's configuration.",
)
@on_hub_values
def hub_code(values: Values, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Code that the hub runs was read by somebody: it can undo every limit, and no check can tell.

    Plain assignments such as `c.KubeSpawner.mem_limit = "1G"` are judged as values.
    """
    reviewed: list[str] = config.get("reviewedCode") or []
    files = values.get("hub.extraFiles")
    written = [
        (f"hub.extraFiles.{name}", read(file, "stringData") or read(file, "binaryData"))
        for name, file in as_mapping(files).items()
        if read(file, "mountPath") is UNKNOWN or CONFIG_FOLDER in str(read(file, "mountPath"))
    ]
    for where, text in (*values.code(), *written, *([("hub.extraFiles", UNKNOWN)] if files is UNKNOWN else [])):
        if not isinstance(text, str):
            yield undecided(f"the code of {where}")
        elif digest(text) not in reviewed and not is_harmless(text):
            yield undecided(f"what the code of {where} does (SHA-256 {digest(text)})")


@REGISTRY.check(
    "chart-version",
    family="exposure",
    severity="high",
    types=(RELEASE, CHART),
    remediation="Set version to one version, or chart to an archive of it.",
)
def chart_version(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A chart is one version's: without one, each update takes the newest that there is."""
    chart, version = read(properties, "chart"), read(properties, "version")
    if version is UNKNOWN or (version is None and chart is UNKNOWN):
        yield undecided("version")
    elif version is None and str(chart).endswith(".tgz") and "://" not in str(chart):
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
