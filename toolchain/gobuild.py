"""Building the CLI and the plugins from Go modules."""

import hashlib
import inspect
import shutil
from pathlib import Path

from toolchain import aws_upstream
from toolchain.cache import made_whole
from toolchain.progress import CommandFailedError, run, say

SOURCES = Path(__file__).parent / "go"
PREPARATIONS = {"aws": aws_upstream}
"""What makes a plugin's sources complete (its `prepare`), by plugin, where Go's modules alone do not."""

CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"


def source_key(name: str, version: str) -> str:
    """A name for what is built from `go/<name>` at `version`: another source is another key."""
    digest = hashlib.sha256(inspect.getsource(PREPARATIONS[name]).encode() if name in PREPARATIONS else b"")
    for file in sorted((SOURCES / name).rglob("*")):
        if file.is_file() and file.suffix in {".go", ".mod", ".sum"}:
            digest.update(f"{file.relative_to(SOURCES)}\n".encode() + file.read_bytes())
    return f"{name}-{version}-{digest.hexdigest()[:12]}"


def build_cli(cache: Path, version: str) -> Path:
    """The `pulumi` program, from the cache or built; about 5 minutes the first time."""
    flags = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{version}"

    def make(target: Path) -> None:
        say(f"the Pulumi CLI {version} is neither here nor can it be downloaded; building it takes about 5 minutes")
        command = ["go", "build", "-ldflags", flags, "-o", str(target), CLI_PACKAGE]
        run(f"building the Pulumi CLI {version} from {CLI_PACKAGE}", command, folder=SOURCES / "pulumi")

    return made_whole(cache / source_key("pulumi", version), make)


def build_plugin(cache: Path, name: str, version: str) -> Path:
    """The provider plugin `name`, from the cache or built; 1 to 8 minutes the first time.

    Raises:
        CommandFailedError: it cannot be built, or the build failed.
    """
    if not (SOURCES / name / "plugin").is_dir():
        raise CommandFailedError(
            f"the {name} plugin {version} is neither here nor can it be downloaded, and its sources are no Go module "
            f"that could be built: the official plugin is needed. Where releases can be reached, run: "
            f"pulumi plugin install resource {name} {version}"
        )

    def make(target: Path) -> None:
        say(f"the {name} plugin {version} is neither here nor can it be downloaded; building it takes minutes")
        sources = target.with_name(f"{target.name}-sources")
        shutil.rmtree(sources, ignore_errors=True)
        shutil.copytree(SOURCES / name, sources)
        module = (sources / "go.mod").read_text().split("\n", 1)[0].removeprefix("module ")
        build = ["go", "build", "-ldflags", f"-s -w -X {module}/info.Version={version}"]
        what = f"building the {name} plugin {version} from {module}"
        try:
            if name in PREPARATIONS:
                PREPARATIONS[name].prepare(sources)
            run(f"{what} (schema)", [*build, "-o", "schema-generator", "./tfgen"], folder=sources)
            run(f"{what} (schema)", ["./schema-generator", "schema", "--out", "plugin"], folder=sources)
            run(what, [*build, "-o", str(target), "./plugin"], folder=sources)
        finally:
            shutil.rmtree(sources, ignore_errors=True)

    return made_whole(cache / source_key(name, version), make)
