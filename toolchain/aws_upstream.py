"""The upstream AWS provider's sources with a few of its 266 services: those that this project deploys.

The whole provider takes hours of CPU time and gigabytes of memory to build. Two generated files name every service and
every client of Amazon's SDK; without the lines of the others, Go compiles only what is left.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from toolchain.progress import run

MODULE = "github.com/hashicorp/terraform-provider-aws"
SERVICES = frozenset(
    {
        *("acm", "autoscaling", "backup", "budgets", "cloudwatch", "dlm", "ec2", "ecr", "efs", "elbv2", "iam", "kms"),
        *("logs", "meta", "route53", "s3", "secretsmanager", "servicequotas", "sns", "ssm", "sts"),
        # Called by those above: a client whose service is not registered ends the provider.
        *("account", "elb", "organizations", "s3control"),
    }
)
"""Packages below `internal/service` that are registered."""

REGISTERED_SERVICES = Path("internal/provider/sdkv2/service_packages_gen.go")
CLIENTS = Path("internal/conns/awsclient_gen.go")
LEFT_OUT = ("*_test.go", "testdata", "test-fixtures", "website", "docs", "examples", "infrastructure", ".*")

_SERVICE_IMPORT = re.compile(r'internal/service/(\w+)"')
_CLIENT_CALL = re.compile(r"\.(\w+Client)\(ctx")
_FUNCTION = re.compile(r"(?m)^(?=func )")
_FUNCTION_NAME = re.compile(r"func \(c \*AWSClient\) (\w+)\(")
_SDK_IMPORT = re.compile(r'\s+(?:(\w+) )?"github\.com/aws/aws-sdk-go-v2/service/(?:\w+/)*(\w+)"')


def prepare(sources: Path) -> None:
    """Put the trimmed provider into `sources/upstream`, where the module's `replace` looks for it.

    Raises:
        CommandFailedError: the module could not be downloaded.
    """
    upstream = _downloaded(sources)
    target = sources / "upstream"
    shutil.copytree(upstream, target, ignore=shutil.ignore_patterns(*LEFT_OUT), copy_function=_link_or_copy)
    for folder in [target, *(Path(root, name) for root, names, _ in os.walk(target) for name in names)]:
        folder.chmod(0o755)
    _rewrite(target / REGISTERED_SERVICES, registered_services((target / REGISTERED_SERVICES).read_text()))
    _rewrite(target / CLIENTS, clients((target / CLIENTS).read_text(), _clients_in_use(target)))


def registered_services(text: str, services: Iterable[str] = SERVICES) -> str:
    """The list of service packages with the imports and calls of `services` alone."""
    kept = set(services)
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        named = _SERVICE_IMPORT.search(line) or re.match(r"\s*(\w+)\.ServicePackage\(ctx\)", line)
        if named is None or named.group(1) in kept:
            lines.append(line)
    return "".join(lines)


def clients(text: str, used: Iterable[str]) -> str:
    """The connection's methods that return a client, those named in `used` alone, with the imports that they need."""
    kept = set(used)
    head, *functions = _FUNCTION.split(text)
    functions = [f for f in functions if (name := _FUNCTION_NAME.match(f)) is None or name.group(1) in kept]
    body = "".join(functions)
    lines: list[str] = []
    for line in head.splitlines(keepends=True):
        sdk = _SDK_IMPORT.match(line)
        if sdk is None or f"{sdk.group(1) or sdk.group(2)}." in body:
            lines.append(line)
    return "".join(lines) + body


def _clients_in_use(target: Path) -> set[str]:
    folders, unseen = {"provider", "conns", "tags", "framework", "sweep", "vcr"}, set(SERVICES)
    roots = [target / "internal" / folder for folder in folders]
    seen: set[str] = set()
    while unseen:
        service = unseen.pop()
        seen.add(service)
        root = target / "internal" / "service" / service
        roots.append(root)
        for file in root.rglob("*.go"):
            unseen |= set(_SERVICE_IMPORT.findall(file.read_text())) - seen
    files = [file for root in roots for file in root.rglob("*.go") if file != target / CLIENTS]
    return {name for file in files for name in _CLIENT_CALL.findall(file.read_text())}


def _downloaded(sources: Path) -> Path:
    version = re.search(rf"^\s*{re.escape(MODULE)} (v\S+)", (sources / "go.mod").read_text(), re.MULTILINE)
    if version is None:
        raise ValueError(f"go.mod does not require {MODULE}")
    command = ["go", "mod", "download", "-json", f"{MODULE}@{version.group(1)}"]
    # Outside the module: its `replace` would send the command to the folder that is not there yet.
    return Path(json.loads(run(f"downloading {MODULE}", command, folder=sources.parent))["Dir"])


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _rewrite(file: Path, text: str) -> None:
    # The file may be a link into the module cache, which must stay as it is.
    file.unlink()
    file.write_text(text)
