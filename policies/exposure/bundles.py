"""Archives that hosts fetch from a bucket and run: what is in them is judged, so they must be ones that can be read."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.bundle import is_archive
from policies.findings import Finding, undecided, violation
from policies.reader import UNKNOWN, Value, read
from policies.registry import REGISTRY
from policies.resource_types import BUNDLE, OLD_BUCKET_OBJECT

ENDINGS = (".tar.gz", ".tgz")
GZIP = "application/gzip"


def _is_for_hosts(properties: Value) -> bool:
    """Whether an object calls itself an archive, as what hosts unpack does."""
    key = read(properties, "key")
    return read(properties, "contentType") == GZIP or (isinstance(key, str) and key.endswith(ENDINGS))


@REGISTRY.check(
    "bundle-readable",
    family="exposure",
    severity="high",
    types=(BUNDLE,),
    remediation="Give the archive as contentBase64, a gzip-compressed tar.",
)
def bundle_readable(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """What hosts run can be judged: an archive that is given as a file, or is none, would hide what is in it."""
    if not _is_for_hosts(properties):
        return
    content = read(properties, "contentBase64")
    if content is UNKNOWN:
        yield undecided("contentBase64")
    elif not isinstance(content, str):
        yield violation("is an archive that does not stand in contentBase64, so that nothing in it can be judged")
    elif not is_archive(content):
        yield violation("calls itself an archive and is none that can be read")


@REGISTRY.check(
    "bundle-type",
    family="exposure",
    severity="high",
    types=(OLD_BUCKET_OBJECT,),
    remediation="Declare it as a BucketObjectv2.",
)
def bundle_type(_name: str, properties: Value, _config: Mapping[str, Any]) -> Iterator[Finding]:
    """Archives are objects of the type whose content is judged."""
    if _is_for_hosts(properties):
        yield violation("is an archive of a type whose content is not judged")
