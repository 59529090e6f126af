"""File systems that hosts share: who may mount them, and whether there is a copy."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.findings import Finding, undecided, violation
from policies.iam_documents import as_list, statements
from policies.reader import UNKNOWN, Value, as_mapping, read
from policies.registry import REGISTRY
from policies.resource_types import FILE_SYSTEM_BACKUP, FILE_SYSTEM_POLICY

EVERYTHING = frozenset({"*", "elasticfilesystem:*"})


@REGISTRY.check(
    "file-system-tls",
    family="data",
    severity="high",
    types=(FILE_SYSTEM_POLICY,),
    remediation="Deny every action to everybody where aws:SecureTransport is false.",
)
def file_system_tls(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Nobody mounts a file system without TLS."""
    text = read(properties, "policy")
    # It names the file system, which may be made in the same update; that judges it.
    if text is not UNKNOWN and not any(_refuses_plain_transport(statement) for statement in statements(text)):
        yield violation("lets hosts mount its file system in plain text")


def _refuses_plain_transport(statement: Mapping[str, Value]) -> bool:
    principal = statement.get("Principal")
    everybody = "*" in (principal, *as_list(as_mapping(principal).get("AWS")))
    everything = bool(EVERYTHING & {str(action) for action in as_list(statement.get("Action"))})
    condition = as_mapping(statement.get("Condition"))
    transport = as_mapping(condition.get("Bool"))
    # A second condition would let some plain transport through.
    alone = len(condition) == 1 and set(transport) == {"aws:SecureTransport"}
    plain = str(transport.get("aws:SecureTransport")).lower() == "false"
    return statement.get("Effect") == "Deny" and everybody and everything and alone and plain


@REGISTRY.check(
    "file-system-backup",
    family="data",
    severity="medium",
    types=(FILE_SYSTEM_BACKUP,),
    remediation='Set backupPolicy.status to "ENABLED".',
)
def file_system_backup(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """There is a copy of what people made, for the day that somebody deletes it."""
    if read(properties, "fileSystemId") is None:
        # What an update leaves out (`--exclude`) the engine hands over without a single property.
        return
    status = read(properties, "backupPolicy", "status")
    if status is UNKNOWN:
        yield undecided("backupPolicy.status")
    elif status != "ENABLED":
        yield violation(f"is not backed up (status is {status!r})")
