"""Values of the chart zero-to-jupyterhub, as a Helm release gives them, with the chart's own where it says nothing.

Defaults are those of chart 4.4.0 (`values.yaml`). A check must know them: what is not written is not harmless, the chart
lets users' pods out to every public address unless it is told otherwise.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies.findings import Finding, Judge, undecided
from policies.reader import UNKNOWN, Partial, Value, as_mapping, items, partial, plain, read

CHART_NAME = "jupyterhub"
_CHART = re.compile(rf"(.*/)?{CHART_NAME}(-v?\d[^/]*)?(\.tgz)?/?")

EGRESS_RULES: dict[str, bool] = {
    "cloudMetadataServer": False,
    "dnsPortsCloudMetadataServer": True,
    "dnsPortsKubeSystemNamespace": True,
    "dnsPortsPrivateIPs": True,
    "nonPrivateIPs": True,
    "privateIPs": False,
}
"""What the chart lets users' pods out to, unless its values say otherwise."""

DEFAULTS: dict[str, Value] = {
    "nameOverride": None,
    "hub.activeServerLimit": None,
    "hub.allowNamedServers": False,
    "hub.namedServerLimitPerUser": None,
    "hub.args": [],
    "hub.command": [],
    "hub.config": {},
    "hub.existingSecret": None,
    "hub.extraConfig": {},
    "hub.extraContainers": [],
    "hub.extraFiles": {},
    "hub.extraVolumeMounts": [],
    "hub.initContainers": [],
    "hub.loadRoles": {},
    "hub.service.type": "ClusterIP",
    "hub.config.JupyterHub.authenticator_class": "dummy",
    "proxy.service.type": "LoadBalancer",
    "proxy.https.enabled": False,
    "proxy.https.type": "letsencrypt",
    "proxy.https.hosts": [],
    "ingress.enabled": False,
    "ingress.hosts": [],
    "ingress.tls": [],
    "httpRoute.enabled": False,
    "httpRoute.gateway": {"name": "your-gateway"},
    "httpRoute.parentRefs": [],
    "cull.enabled": True,
    "cull.timeout": 3600,
    "cull.maxAge": 0,
    "singleuser.allowPrivilegeEscalation": False,
    "singleuser.cloudMetadata.blockWithIptables": True,
    "singleuser.cloudMetadata.ip": "169.254.169.254",
    "singleuser.cpu.limit": None,
    "singleuser.memory.limit": None,
    "singleuser.extraResource.limits": {},
    "singleuser.extraContainers": [],
    "singleuser.extraEnv": {},
    "singleuser.extraLabels": {},
    "singleuser.extraPodConfig": {},
    "singleuser.image.name": "quay.io/jupyterhub/k8s-singleuser-sample",
    "singleuser.image.tag": "4.4.0",
    "singleuser.initContainers": [],
    "singleuser.networkPolicy.enabled": True,
    "singleuser.networkPolicy.egress": [],
    "singleuser.networkPolicy.ingress": [],
    "singleuser.networkPolicy.allowedIngressPorts": [],
    "singleuser.networkPolicy.interNamespaceAccessLabels": "ignore",
    "singleuser.networkTools.image.name": "quay.io/jupyterhub/k8s-network-tools",
    "singleuser.networkTools.image.tag": "4.4.0",
    "singleuser.networkTools.resources": {},
    "singleuser.profileList": [],
    "singleuser.serviceAccountName": None,
    "singleuser.storage.extraVolumes": None,
    "singleuser.storage.extraVolumeMounts": None,
    "singleuser.uid": 1000,
    **{f"singleuser.networkPolicy.egressAllowRules.{key}": value for key, value in EGRESS_RULES.items()},
}
"""Every value that a check reads, by its path."""


@dataclass(frozen=True)
class Values:
    """A release's values over the chart's."""

    given: Value
    """What the release says; `UNKNOWN` as a whole, or in parts."""
    nulls: bool
    """Whether a null takes a default away, instead of saying nothing."""

    def get(self, path: str) -> Value:
        """The value at a path of `DEFAULTS`: `UNKNOWN` where it is not known, the chart's where none is given."""
        found = self.given
        for step in path.split("."):
            if found is UNKNOWN:
                return UNKNOWN
            if not isinstance(found, dict) or (step not in found and not isinstance(found, Partial)):
                return DEFAULTS.get(path)
            found = as_mapping(found)[step]
        return DEFAULTS.get(path) if found is None and not self.nulls else found

    def config(self, section: str, trait: str) -> Value:
        """What the hub's own configuration says of a trait, which wins over the chart's way to say it; None for nothing."""
        found = read(self.given, "hub", "config", section, trait)
        written = [value for where, name, value in self.assignments() if (where, name) == (section, trait)]
        return written[-1] if written else found

    def code(self) -> list[tuple[str, Value]]:
        """Python that the hub runs, by what it is called in the values, in the order in which it runs."""
        found = self.get("hub.extraConfig")
        if found is UNKNOWN:
            return [("hub.extraConfig", UNKNOWN)]
        return [(f"hub.extraConfig.{key}", text) for key, text in sorted(as_mapping(found).items())]

    def assignments(self) -> Iterator[tuple[str, str, Value]]:
        """Section, trait and value of plain assignments such as `c.KubeSpawner.mem_limit = None` in the hub's code."""
        for _, text in self.code():
            for statement in _statements(text):
                found = _assignment(statement)
                if found:
                    yield found


def hub_values(properties: Value) -> Values | None:
    """The values of a release of the chart; None for a release of another one."""
    chart = read(properties, "chart")
    if chart is not UNKNOWN and not _CHART.fullmatch(str(chart)):
        return None
    given = plain(read(properties, "values"))
    files = [*items(properties, "valueYamlFiles")]
    # What stands in files is not at hand; values win over it.
    nulls = read(properties, "allowNullValues")
    document: Value = given if given is UNKNOWN else as_mapping(given)
    return Values(partial(document) if files else document, nulls is True or nulls is UNKNOWN)


HubJudge = Callable[[Values, Mapping[str, Any]], Iterator[Finding]]
"""A check's function on the values of a hub's chart, and the configuration."""


def on_hub_values(judge: HubJudge) -> Judge:
    """Make a check's function on the chart's values one on Helm releases; those of other charts are none of its business."""

    @functools.wraps(judge)
    def on_resource(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
        values = hub_values(properties)
        if values is None:
            return
        if values.given is UNKNOWN:
            yield undecided("values")
        else:
            yield from judge(values, config)

    return on_resource


def digest(text: str) -> str:
    """SHA-256 of code, in hexadecimal, by which the pack's configuration names what was reviewed."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_harmless(text: str) -> bool:
    """Whether code is plain assignments to `c` alone, which the checks read as values, and documentation."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_assignment(statement) or _is_text(statement) for statement in body)


def _statements(text: Value) -> list[ast.stmt]:
    try:
        return ast.parse(text).body if isinstance(text, str) else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _assignment(statement: ast.stmt) -> tuple[str, str, Value] | None:
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    match target:
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="c"), attr=section), attr=trait):
            try:
                return section, trait, ast.literal_eval(statement.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                return None
        case _:
            return None
