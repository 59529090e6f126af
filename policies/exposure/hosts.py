"""EC2 hosts: their metadata service, keys, addresses and what their user data tells."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, items, read
from policies.registry import REGISTRY
from policies.resource_types import INSTANCE, LAUNCH_TEMPLATE, SUBNET

SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:password|passwd|secret_?key|auth_?token|client_?secret)\s*[=:]\s*['\"]?[A-Za-z0-9+/_.-]{8,}"
)


@REGISTRY.check(
    "metadata-token",
    family="exposure",
    severity="critical",
    types=(INSTANCE, LAUNCH_TEMPLATE),
    remediation='Set metadataOptions.httpTokens to "required".',
)
def metadata_token(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """The metadata service wants a token (IMDSv2; CIS AWS 5.6)."""
    tokens = read(properties, "metadataOptions", "httpTokens")
    if tokens is UNKNOWN:
        yield undecided("metadataOptions.httpTokens")
    elif tokens != "required":
        yield violation(f"answers without a token (httpTokens is {tokens!r})")


@REGISTRY.check(
    "metadata-hops",
    family="exposure",
    severity="high",
    types=(INSTANCE, LAUNCH_TEMPLATE),
    remediation="Set metadataOptions.httpPutResponseHopLimit to 1.",
)
def metadata_hops(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """A token's answer ends at the host, so that no container on it gets one."""
    hops = read(properties, "metadataOptions", "httpPutResponseHopLimit")
    if hops is UNKNOWN:
        yield undecided("metadataOptions.httpPutResponseHopLimit")
    elif hops != 1:
        yield violation(f"hands tokens on beyond itself (hop limit {hops!r})")


@REGISTRY.check(
    "no-host-key",
    family="exposure",
    severity="high",
    types=(INSTANCE, LAUNCH_TEMPLATE),
    remediation="Remove keyName; Session Manager gives a shell without a key.",
)
def no_host_key(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No host has an SSH key, which somebody would keep and copy (seed 004)."""
    if read(properties, "keyName") is not None:
        yield violation("has an SSH key")


@REGISTRY.check(
    "no-worker-role",
    family="exposure",
    severity="critical",
    types=(LAUNCH_TEMPLATE,),
    remediation="Remove iamInstanceProfile: what a host's role may do, its users may do. Only where users' code runs in "
    "containers, set usersInContainers in the policy pack's configuration.",
)
def no_worker_role(_name: str, properties: Value, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Hosts that users have to themselves have no role; containers on a host do not get at its role."""
    if read(properties, "iamInstanceProfile") is not None and config.get("usersInContainers") is not True:
        yield violation("gives users' hosts a role")


@REGISTRY.check(
    "no-public-address",
    family="exposure",
    severity="high",
    types=(INSTANCE, LAUNCH_TEMPLATE, SUBNET),
    remediation="Set it to false; an elastic address is given to the manager by name.",
)
def no_public_address(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No host gets a public address by itself."""
    found = [read(properties, "associatePublicIpAddress"), read(properties, "mapPublicIpOnLaunch")]
    found += [read(card, "associatePublicIpAddress") for card in items(properties, "networkInterfaces")]
    if any(value is UNKNOWN for value in found):
        yield undecided("a public address")
    elif any(value in {True, "true"} for value in found):
        yield violation("gives hosts a public address")


@REGISTRY.check(
    "no-secret-in-user-data",
    family="exposure",
    severity="critical",
    types=(INSTANCE, LAUNCH_TEMPLATE),
    remediation="Keep it in Secrets Manager and let the host's role read it: whoever is on the host reads user data.",
)
def no_secret_in_user_data(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """User data holds no password, key or token."""
    for key in ("userData", "userDataBase64"):
        text = read(properties, key)
        # What depends on other resources is judged in the update: it is known when its host is made.
        if isinstance(text, str) and SECRET.search(_plain(text)):
            yield violation(f"{key} holds what looks like a secret")


def _plain(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return text
