"""The toolchain: whole files, retries, messages, and versions that agree."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from toolchain import aws_upstream
from toolchain.cache import made_whole
from toolchain.configuration_file import further_plugins, tidy_configuration
from toolchain.gobuild import build_plugin, source_key
from toolchain.installer import is_installed, plugin_path
from toolchain.interrupted import engine_address, interrupted_creations, remote_operations
from toolchain.login_lines import login_lines
from toolchain.progress import CommandFailedError, run

ROOT = Path(__file__).parents[2]


def test_the_toolchain_installs_the_versions_that_the_lock_names():
    versions = tomllib.loads((ROOT / "toolchain/versions.toml").read_text())
    locked = dict(re.findall(r"^([a-z-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert locked["pulumi"] == versions["pulumi"]
    assert {name: locked[f"pulumi-{name}"] for name in versions["plugins"]} == versions["plugins"]


def test_what_could_not_be_finished_is_not_in_the_cache(tmp_path: Path):
    def half(target: Path) -> None:
        target.write_text("half")
        raise CommandFailedError("the download broke")

    with pytest.raises(CommandFailedError):
        made_whole(tmp_path / "tool", half)

    assert not (tmp_path / "tool").exists()
    assert made_whole(tmp_path / "tool", lambda target: target.write_text("whole") and None).read_text() == "whole"


def test_a_command_that_fails_once_is_tried_again(tmp_path: Path):
    script = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); tried = p.exists(); p.touch(); print('done'); sys.exit(not tried)"

    assert run("building a plugin", [sys.executable, "-c", script, str(tmp_path / "tried")]) == "done\n"


def test_a_command_that_keeps_failing_is_named_with_its_last_words():
    script = "import sys; sys.exit('no such module')"

    with pytest.raises(CommandFailedError, match="building the tls plugin failed twice: no such module"):
        run("building the tls plugin", [sys.executable, "-c", script])


def test_a_command_that_hangs_is_stopped():
    with pytest.raises(CommandFailedError, match="took longer than 0 s"):
        run("building", [sys.executable, "-c", "import time; time.sleep(60)"], limit=0.2)


def test_services_of_a_killed_run_are_removed_before_the_networks_that_they_hold():
    def operation(kind: str, name: str) -> dict[str, object]:
        return {"type": "creating", "resource": {"type": kind, "urn": f"urn::{name}", "inputs": {"name": name}}}

    state = {
        "deployment": {
            "resources": [{"type": "pulumi:providers:docker", "inputs": {"host": "unix:///engine"}}],
            "pending_operations": [
                operation("docker:index/network:Network", "n"),
                operation("docker:index/service:Service", "s"),
            ],
        }
    }

    assert [resource["inputs"]["name"] for resource in interrupted_creations(state)] == ["s", "n"]
    assert engine_address(state) == "unix:///engine"


def environment_in_the_toolchain(**given: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
    shown = subprocess.run(
        [ROOT / "toolchain/with", "env"],
        env={**clean, "HUBSTACK_TOOLCHAIN": "no", **given},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if line.startswith("PULUMI_"))


def test_a_backend_that_the_user_has_set_is_left_alone():
    chosen = environment_in_the_toolchain(PULUMI_BACKEND_URL="s3://states", PULUMI_CONFIG_PASSPHRASE="ours")

    assert chosen["PULUMI_BACKEND_URL"] == "s3://states"
    assert chosen["PULUMI_CONFIG_PASSPHRASE"] == "ours"
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in chosen


def test_state_is_in_the_checkout_otherwise_with_a_passphrase_that_only_its_owner_reads():
    chosen = environment_in_the_toolchain()
    passphrase = Path(chosen["PULUMI_CONFIG_PASSPHRASE_FILE"])

    assert chosen["PULUMI_BACKEND_URL"] == f"file://{ROOT}/.pulumi-state"
    assert passphrase.is_relative_to(ROOT / ".pulumi-state")
    assert passphrase.stat().st_mode & 0o777 == 0o600


def test_a_plugin_that_was_built_from_other_sources_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    built = tmp_path / source_key("tls", "1.2.3")
    built.write_text("plugin")
    path = plugin_path("tls", "1.2.3")
    path.parent.mkdir(parents=True)

    path.symlink_to(built)
    assert is_installed("tls", "1.2.3")

    other = built.rename(tmp_path / "tls-1.2.3-0123456789ab")
    path.unlink()
    path.symlink_to(other)
    assert not is_installed("tls", "1.2.3")


SERVICE_PACKAGES = """
import (
	"context"

	"example.org/aws/internal/service/ec2"
	"example.org/aws/internal/service/sns"
)

func servicePackages(ctx context.Context) []conns.ServicePackage {
	return []conns.ServicePackage{
		ec2.ServicePackage(ctx),
		sns.ServicePackage(ctx),
	}
}
"""
CLIENTS = """
import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

func (c *AWSClient) EC2Client(ctx context.Context) *ec2.Client { return client[*ec2.Client](ctx) }
func (c *AWSClient) ELBClient(ctx context.Context) *elb.Client { return client[*elb.Client](ctx) }
func (c *AWSClient) SNSClient(ctx context.Context) *sns.Client { return client[*sns.Client](ctx) }
"""


def test_services_that_are_not_kept_are_neither_imported_nor_registered():
    trimmed = aws_upstream.registered_services(SERVICE_PACKAGES, {"ec2"})

    assert "ec2.ServicePackage(ctx)" in trimmed
    assert "sns" not in trimmed
    assert '"context"' in trimmed


def test_clients_that_nothing_calls_go_with_their_imports():
    trimmed = aws_upstream.clients(CLIENTS, {"EC2Client", "ELBClient"})

    assert "EC2Client" in trimmed
    assert "elb.Client" in trimmed
    assert "sns" not in trimmed
    assert trimmed.count("github.com/aws") == 2


def test_a_salt_that_no_secret_needs_does_not_stay_in_the_stacks_file(tmp_path: Path):
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("# ours\nconfig:\n  hubstack:port: 8443\n")

    with tidy_configuration(file):
        file.write_text(file.read_text() + "encryptionsalt: v1:abc=:v1:def\n")

    assert file.read_text() == "# ours\nconfig:\n  hubstack:port: 8443\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("encryptionsalt: v1:a\nconfig: {}\n", "encryptionsalt: v1:a\nconfig: {}\n"),
        ("config: {}\n", "config:\n  hubstack:password:\n    secure: v1:xyz\nencryptionsalt: v1:a\n"),
    ],
)
def test_a_salt_that_was_there_or_that_a_secret_needs_stays(tmp_path: Path, before: str, after: str):
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(before)

    with tidy_configuration(file):
        file.write_text(after)

    assert file.read_text() == after


def test_a_stack_on_aws_brings_its_plugin_and_one_on_this_machine_does_not():
    assert further_plugins((ROOT / "Pulumi.ec2hub.yaml").read_text()) == ("aws",)
    assert further_plugins((ROOT / "Pulumi.dev.yaml").read_text()) == ()


def test_what_a_killed_run_was_making_in_an_account_is_not_forgotten():
    instance = {"type": "creating", "resource": {"type": "aws:ec2/instance:Instance", "urn": "urn::a::manager"}}
    network = {"type": "creating", "resource": {"type": "docker:index/network:Network", "urn": "urn::a::front"}}
    state = {"deployment": {"pending_operations": [instance, network]}}

    assert remote_operations(state) == [instance]
    assert interrupted_creations(state) == [network["resource"]]


@pytest.mark.parametrize(
    ("text", "plugins"),
    [
        ("config:\n  hubstack:topology: ephemeral\n", ("kubernetes",)),
        ("config:\n  hubstack:topology: 'platform'\n", ("kubernetes",)),
        ("config:\n  hubstack:topology: swarm\n", ()),
        ("config:\n  # hubstack:topology: ephemeral\n", ()),
    ],
)
def test_stacks_on_kubernetes_need_its_plugin(text: str, plugins: tuple[str, ...]):
    assert further_plugins(text) == plugins


def test_a_plugin_that_can_only_be_downloaded_is_asked_for_by_name(tmp_path: Path):
    with pytest.raises(CommandFailedError, match=r"pulumi plugin install resource kubernetes 4\.34\.2") as caught:
        build_plugin(tmp_path, "kubernetes", "4.34.2")

    assert "the official plugin is needed" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_whoever_deploys_reads_what_the_topology_has():
    swarm = {"url": "https://a", "users": ["ada", "eve"], "password": "p", "adminPassword": "q"}

    assert login_lines(swarm) == ["https://a", "users ada, eve; password p", "administrators' password q"]
    assert login_lines({"url": "https://a", "password": "p", "users": []}) == ["https://a", "password p"]
    assert login_lines({"url": "https://a", "password": "", "contentLinks": {"course": "https://a/x"}}) == [
        "https://a",
        "course: https://a/x",
    ]
    assert login_lines({}) == []
