"""The test cluster's toolchain: addresses, certificates, images and versions, without a cluster."""

import ipaddress
import json
import re
import tarfile
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from toolchain.gobuild import SOURCES
from toolchain.kubernetes import configuration, images, programs
from toolchain.kubernetes.certificates import Authority
from toolchain.kubernetes.machine import LINKS, Machine, MachineError, first_free

NETWORKS = st.builds(
    lambda address, prefix: ipaddress.IPv4Network((address, prefix), strict=False),
    st.integers(int(LINKS.network_address) - 70000, int(LINKS.broadcast_address) + 70000),
    st.integers(14, 32),
)


@given(st.lists(NETWORKS, max_size=8))
def test_a_cluster_gets_addresses_that_nothing_else_on_this_machine_has(used: list[ipaddress.IPv4Network]):
    try:
        addresses = first_free(used)
    except MachineError:
        assert list(ipaddress.collapse_addresses([*used, LINKS])) == list(ipaddress.collapse_addresses(used))
        return
    link = ipaddress.IPv4Network((addresses.host, 30), strict=False)
    assert ipaddress.IPv4Address(addresses.node) in link
    assert addresses.host != addresses.node
    assert link.subnet_of(LINKS)
    assert not any(link.overlaps(network) for network in used)


def test_two_clusters_share_no_name_on_this_machine(tmp_path: Path):
    first, second = Machine(tmp_path / "one"), Machine(tmp_path / "two")

    assert first.interface != second.interface
    assert first.cgroup != second.cgroup
    # The kernel takes no longer ones.
    assert len(first.interface) <= 15


@pytest.mark.parametrize("name", sorted(programs.PARTS))
def test_what_is_built_is_pinned_with_checksums(name: str):
    part = programs.PARTS[name]
    folder = SOURCES / name
    required = re.findall(r"^\s*(?:require )?([\w./-]+) (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
    replaced = {old for old, _ in re.findall(r"(\S+) => (\S+)", (folder / "go.mod").read_text())}
    sums = (folder / "go.sum").read_text() if required else ""

    assert not part.module or programs.version(part).startswith("v")
    assert [
        f"{module} {number}"
        for module, number in required
        if module not in replaced and f"{module} {number} h1:" not in sums
    ] == []


def test_staging_modules_of_kubernetes_have_its_own_version():
    version = programs.version(programs.PARTS["kubernetes"])
    replaced = re.findall(r"=> k8s.io/\S+ (\S+)", (SOURCES / "kubernetes" / "go.mod").read_text())

    assert len(replaced) > 20
    assert set(replaced) == {version.replace("v1.", "v0.", 1)}


def test_other_flags_are_another_build():
    part = programs.PARTS["kubernetes"]

    assert programs.key(part) != programs.key(programs.Part(part.name, part.module, part.packages[:-1], part.flags))


def test_a_users_kubeconfig_names_user_and_groups(tmp_path: Path):
    authority = Authority.make(tmp_path)

    config = yaml.safe_load(authority.kubeconfig("https://10.0.0.1:6443", "ada", ["students", "staff"]))

    import base64

    certificate = x509.load_pem_x509_certificate(
        base64.b64decode(config["users"][0]["user"]["client-certificate-data"])
    )
    assert certificate.subject.rfc4514_string() == "CN=ada,O=staff,O=students"
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def test_only_the_machine_reads_keys(tmp_path: Path):
    configuration.write(tmp_path, configuration.Addresses("10.212.0.1", "10.212.0.2"), "/group")

    secret = [path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    secret += tmp_path.rglob("*kubeconfig")
    assert len(secret) > 8
    assert [path for path in secret if path.stat().st_mode & 0o077] == []


def test_an_image_holds_the_program_and_nothing_else(tmp_path: Path):
    program = tmp_path / "pause"
    program.write_text("program")

    images.pack(
        "example.test/pause:v1",
        {"bin/pause": program},
        entrypoint=["/bin/pause"],
        links={"bin/wait": "pause"},
        target=tmp_path / "image",
    )

    with tarfile.open(tmp_path / "image") as image:
        manifest = json.loads(image.extractfile("manifest.json").read())  # pyright: ignore[reportOptionalMemberAccess]
        with tarfile.open(fileobj=image.extractfile(manifest[0]["Layers"][0])) as layer:
            assert layer.getnames() == ["bin", "tmp", "bin/pause", "bin/wait"]
            assert layer.getmember("bin/pause").mode == 0o755
    assert manifest[0]["RepoTags"] == ["example.test/pause:v1"]
