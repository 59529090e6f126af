"""Stack files in bundles, beyond what they declare: `policies/stack_file.py` hands that to the checks of services."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, as_mapping, read
from policies.registry import REGISTRY
from policies.resource_types import BUNDLE
from policies.stack_file import STACK_FILE, stack_file


@REGISTRY.check(
    "stack-file-readable",
    family="exposure",
    severity="high",
    types=(BUNDLE,),
    remediation=f"Write {STACK_FILE} as a JSON object whose services are objects.",
)
def stack_file_readable(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What hosts deploy can be judged: no service of a stack file escapes the checks of services."""
    if read(properties, "contentBase64") is UNKNOWN:
        yield undecided("contentBase64")
        return
    found = stack_file(properties)
    services = as_mapping(as_mapping(found).get("services"))
    if found is not None and not (services and all(as_mapping(service) for service in services.values())):
        yield violation(f"has a {STACK_FILE} whose services cannot be read")


@REGISTRY.check(
    "stack-file-secrets",
    family="exposure",
    severity="critical",
    types=(BUNDLE,),
    remediation="Make the secret external; the swarm's leader puts it into the swarm from Secrets Manager.",
)
def stack_file_secrets(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """No secret is a file of the bundle, which every host reads, those that users' code runs on among them."""
    if read(properties, "contentBase64") is UNKNOWN:
        yield undecided("contentBase64")
        return
    for name, secret in sorted(as_mapping(as_mapping(stack_file(properties)).get("secrets")).items()):
        if not as_mapping(secret).get("external"):
            yield violation(f"has the secret {name} in a file beside it")
