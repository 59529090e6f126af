"""The pool that `toolchain/rehearsed/tmpnb.yaml` puts on EC2 passes the pack, and a single bad change to it does not."""

import base64
import functools
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from components import EgressProfile, TmpnbNodePool
from components.aws.boot import archive
from components.settings import parse_settings
from policies import resource_types as types
from tests.policies.judging import Change, Properties, changed, levels, previewed, told
from tests.policies.kubernetes_cases import GONE
from tests.policies.kubernetes_cases import changed as edited
from tests.unit.recording import Registration, record
from toolchain.rehearsal import configuration

LEVELS = levels("tmpnb")


def pool(**changes: str) -> Callable[[], object]:
    """The stack's program on AWS, with other configuration."""
    config = configuration("tmpnb")
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings = parse_settings({**texts, **{f"hubstack:{key}": text for key, text in changes.items()}})
    return lambda: TmpnbNodePool("lab", settings.tmpnb_node_pool())


@functools.cache
def graph() -> list[Registration]:
    """What the stack registers in an update."""
    return record(pool()).registrations


def test_the_stack_passes_and_leaves_nothing_open():
    assert told(graph(), LEVELS) == []


def test_nothing_is_undecided_at_the_first_preview():
    assert told(previewed(pool()), LEVELS) == []


def test_an_open_profile_passes_where_it_is_allowed_and_nowhere_else():
    opened = record(pool(egressProfile=EgressProfile.OPEN.value)).registrations

    assert told(opened, LEVELS, allowOpen=True) == []
    assert {check for check, _, _ in told(opened, LEVELS)} >= {"guard-ranges", "joined-egress"}


def in_group(path: str, value: Any = GONE, *, file: str = "group.json") -> Change:
    """Another value at a path of what a host fetches, under another name of its file; none takes the value away."""

    def change(properties: Properties) -> None:
        raw = gzip.decompress(base64.b64decode(properties["contentBase64"]))
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            files = {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers()}
        files[file] = json.dumps(edited(json.loads(files.pop("group.json")), path, value)).encode()
        properties["contentBase64"] = base64.b64encode(archive(files)).decode()

    return change


def as_a_file(properties: Properties) -> None:
    """The archive stands in a file, which the engine uploads and the pack does not see."""
    del properties["contentBase64"]
    properties["source"] = {"path": "group.tar.gz"}


def in_settings(path: str, value: Any = GONE) -> Change:
    """Another value in the settings of the node's service."""

    def change(properties: Properties) -> None:
        text = group_of(properties)["spec"]["texts"]["settings.json"]
        in_group("spec/texts/settings.json", json.dumps(edited(json.loads(text), path, value)))(properties)

    return change


def group_of(properties: Properties) -> Properties:
    raw = gzip.decompress(base64.b64decode(properties["contentBase64"]))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return json.load(tar.extractfile("group.json") or io.BytesIO())


def put(path: str, value: Any = GONE) -> Change:
    """Another value at a path of a resource's own properties; none takes it away."""

    def change(properties: Properties) -> None:
        result = edited(properties, path, value)
        properties.clear()
        properties.update(result)

    return change


NODE, OTHER = ("lab-tmp01", types.BUNDLE), ("lab-tmp02", types.BUNDLE)
REDIRECTOR = ("lab-redirector", types.BUNDLE)
HOST, RECORD, HEALTH, ALARM = (
    ("lab-tmp01", kind) for kind in (types.INSTANCE, types.RECORD, types.HEALTH_CHECK, types.METRIC_ALARM)
)
WEB_IN, WEB_OUT = (
    ("lab-web-from-everybody-https", types.INGRESS_RULE),
    ("lab-web-to-internet-https", types.EGRESS_RULE),
)

BAD_CHANGES: list[tuple[tuple[str, str], Change, str, str]] = [
    # What a host fetches is judged as a group on any engine is.
    (NODE, in_group("spec/containers/proxy/memory_bytes"), "container-memory-limit", "container proxy"),
    (NODE, in_group("spec/containers/service/processes", 0), "container-processes-limit", "container service"),
    (NODE, in_group("spec/containers/proxy/engine_socket", True), "docker-socket", "with role 'proxy'"),
    (NODE, in_group("spec/containers/proxy/cap_add", ["NET_ADMIN"]), "no-privileges", "adds 'NET_ADMIN'"),
    (NODE, in_group("spec/containers/service/ports/0/address", "0.0.0.0"), "node-admin-loopback", "0.0.0.0"),
    (NODE, in_group("spec/containers/egress-guard"), "node-guard", "has no egress guard"),
    (NODE, in_group("spec/networks/servers/apart"), "network-icc", "reach each other"),
    (NODE, in_group("spec/networks/control/internal", False), "network-internal", "network control"),
    (NODE, in_group("spec/probe"), "node-proof", "tries nothing"),
    (NODE, in_group("spec/probe", file="./group.json"), "node-proof", "tries nothing"),
    (NODE, in_group("spec/probe", file="/run/../group.json"), "node-proof", "tries nothing"),
    (NODE, as_a_file, "bundle-readable", "nothing in it can be judged"),
    (NODE, in_group("images/notebook", "jupyter/minimal-notebook"), "node-image-pinned", "NOTEBOOK_IMAGE"),
    (NODE, in_group("images/node", "hubstack/tmpnb-node:latest"), "image-pinned", "another image tomorrow"),
    (NODE, in_group("spec/containers/proxy/privileged", True), "container-group-readable", "the key 'privileged'"),
    (NODE, in_group("spec", "nothing"), "container-group-readable", "describes no containers"),
    (NODE, in_settings("quota/home_bytes"), "node-quota-complete", "home_bytes"),
    (NODE, in_settings("quota/cpu", 64), "node-quota-maximum", "cpu of 64"),
    (NODE, in_settings("capacity", 1001), "node-capacity", "1001"),
    (NODE, in_settings("resolver", True), "node-resolver", "resolve names"),
    (NODE, in_settings("network", "lab-tmp01-front"), "node-network", "'lab-tmp01-front'"),
    (OTHER, in_settings("capacity", 997), "pool-servers", "1001 servers"),
    (OTHER, in_settings("quota/memory_bytes", 2**39), "engine-memory", "the engine of lab-tmp02"),
    (REDIRECTOR, in_group("spec/texts/redirector.json", "{}"), "redirector-nodes-over-tls", "no list of nodes"),
    # The host itself, and its name.
    (HOST, put("metadataOptions/httpPutResponseHopLimit", 2), "metadata-hops", "hop limit 2"),
    (HOST, put("metadataOptions/httpTokens", "optional"), "metadata-token", "without a token"),
    (HOST, put("keyName", "me"), "no-host-key", "SSH key"),
    (HOST, put("associatePublicIpAddress", True), "no-public-address", "public address"),
    (HOST, put("rootBlockDevice/encrypted", False), "disk-encrypted", "not encrypted"),
    (RECORD, put("ttl", 300), "record-ttl", "300"),
    (HEALTH, put("fqdn", "tmp09.tmp.example.org"), "record-health-check", "tmp01.tmp.example.org"),
    (HEALTH, put("type", "HTTP"), "health-check-https", "without TLS"),
    (ALARM, put("alarmActions", []), "health-check-alarm", "tells nobody"),
    (ALARM, put("region", "eu-west-1"), "health-check-alarm", "tells nobody"),
    (WEB_IN, put("fromPort", 22), "no-shell-port", "port 22"),
    (WEB_OUT, put("ipProtocol", "-1"), "security-group-egress", "everything out"),
    (("lab-bundles", types.BUCKET_ACCESS), put("blockPublicAcls", False), "bucket-private", "public"),
]


@pytest.mark.parametrize(("where", "change", "check", "words"), BAD_CHANGES)
def test_a_bad_change_is_refused_with_its_reason(where: tuple[str, str], change: Change, check: str, words: str):
    found = told(changed(graph(), where, change), LEVELS)

    assert [finding for found_by, _, finding in found if found_by == check and words in finding.message]


def test_nodes_on_hosts_of_their_own_do_not_share_memory():
    """As much as an engine may have, on two: each has its own."""
    most = 2**38
    roomy = graph()
    for where in (NODE, OTHER):
        roomy = changed(roomy, where, in_settings("quota/memory_bytes", most // 4))

    assert "engine-memory" not in {check for check, _, _ in told(roomy, LEVELS, maxNodeMemoryBytes=most)}
