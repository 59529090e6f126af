"""Where a hub that a chart makes has its secrets: in a Secret that holds nothing else, and nowhere in the chart's values."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from policies.findings import Finding, undecided, violation
from policies.kubernetes.hub_values import Values, hub_values, on_hub_values
from policies.kubernetes.objects import objects
from policies.reader import UNKNOWN, Value, as_mapping, read
from policies.registry import REGISTRY, StackResource
from policies.resource_types import CHART, KUBERNETES_SECRET, RELEASE

SECRETS = (
    ("hub", "config", "DummyAuthenticator", "password"),
    ("hub", "db", "password"),
    ("imagePullSecret", "password"),
    ("proxy", "https", "manual", "key"),
)
"""Secrets of people in the chart's values; the hub's own tokens are made for it and must stand there."""

HUBS_TOKENS = (
    ("hub", "cookieSecret"),
    ("hub", "config", "JupyterHub", "cookie_secret"),
    ("hub", "config", "CryptKeeper", "keys"),
    ("hub", "config", "ConfigurableHTTPProxy", "auth_token"),
    ("proxy", "secretToken"),
)
"""The hub's own."""

SECRET_TRAITS = ("admin_password", "client_secret", "user_password")
"""Traits of authenticators that are secrets in any section of `hub.config`: that of a subclass wins over its parent's."""

VALUES_FILE = "values.yaml"


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
        for trait in SECRET_TRAITS:
            yield from _secret(traits, trait, f"hub.config.{section}.{trait}")


def _secret(holder: Value, key: str, path: str) -> Iterator[Finding]:
    # Its text may be unknown; that it stands there is not.
    if holder is UNKNOWN:
        yield undecided(path)
    elif as_mapping(holder).get(key) not in (None, ""):
        yield violation(f"has a secret in {path}")


@REGISTRY.stack_check(
    "hub-secret-values",
    severity="high",
    remediation="Name a Secret of the stack that holds the hub's secrets alone; the rest belongs into the chart's values.",
)
def hub_secret_values(
    resources: Sequence[StackResource], _config: Mapping[str, Any]
) -> Iterator[tuple[StackResource, Finding]]:
    """The Secret of `hub.existingSecret` holds secrets alone: the hub lays its `values.yaml` over the chart's values.

    Text that is not known before the update, such as a password that is generated, is judged in the update.
    """
    secrets = [
        properties
        for resource in resources
        for token, properties in objects(resource.type, resource.inputs, whole=(CHART, RELEASE))
        if token == KUBERNETES_SECRET
    ]
    for resource in resources:
        values = hub_values(resource.inputs) if resource.type in (RELEASE, CHART) else None
        if values is not None and values.given is not UNKNOWN:
            name, namespace = values.get("hub.existingSecret"), read(resource.inputs, "namespace")
            for finding in _existing_secret(name, namespace, secrets):
                yield resource, finding


def _existing_secret(name: Value, namespace: Value, secrets: Sequence[Value]) -> Iterator[Finding]:
    if name is UNKNOWN:
        yield undecided("hub.existingSecret")
        return
    found = [
        secret
        for secret in secrets
        if read(secret, "metadata", "name") == name
        and (namespace is UNKNOWN or read(secret, "metadata", "namespace") in (namespace, UNKNOWN))
    ]
    if name and not found:
        yield undecided(f"what the Secret {name!r} of hub.existingSecret holds, which is none of the stack's,")
    for text in (_text(secret) for secret in found):
        try:
            told = [*_leaves(yaml.safe_load(text))] if isinstance(text, str) else []
        except yaml.YAMLError:
            yield undecided(f"what the values in the Secret {name!r} say")
            continue
        for path in told:
            if not _is_secret(path):
                what = ".".join(path)
                yield violation(f"sets {what} by the Secret {name!r}, where no check of the chart's values sees it")


def _is_secret(path: tuple[str, ...]) -> bool:
    """Whether the value at a path is a secret."""
    of_authenticator = path[:2] == ("hub", "config") and path[3:] in {(trait,) for trait in SECRET_TRAITS}
    return of_authenticator or path in SECRETS or path in HUBS_TOKENS


def _text(secret: Value) -> Value:
    """What a Secret has for the chart's values; None without any, `UNKNOWN` before it is known."""
    written, encoded = (read(secret, key, VALUES_FILE) for key in ("stringData", "data"))
    if isinstance(encoded, str) and written is None:
        try:
            return base64.b64decode(encoded).decode()
        except ValueError:
            # Kubernetes would not take it.
            return None
    return encoded if written is None else written


def _leaves(values: Value, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        for key, value in as_mapping(values).items():
            yield from _leaves(value, (*above, str(key)))
    elif above or values:
        yield above
