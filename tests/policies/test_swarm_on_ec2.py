"""The stack that `Pulumi.prod.yaml` describes passes the pack, and a single bad change to it does not."""

import base64
import copy
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pulumi_policy.proxy import unknown_checking_proxy

from components import EgressProfile, SwarmCluster
from components.aws.boot import archive
from components.settings import parse_settings
from policies import resource_types as types
from policies.findings import Finding
from policies.pack import POLICIES
from policies.registry import FAMILY_CONFIG, REGISTRY
from policies.stack_file import carried
from tests.policies.test_joined_rules import after, before
from tests.stacks import ROOT
from tests.unit.recording import Registration, record

Properties = dict[str, Any]
Change = Callable[[Properties], object]

LEVELS = json.loads((ROOT / "policies/config/prod.json").read_text())
DEFAULTS = {name: schema["default"] for name, schema in FAMILY_CONFIG.items()}


def prod(**changes: str) -> list[Registration]:
    """What the stack registers in an account with enough of everything."""
    written = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in written.items()}
    settings = parse_settings({**texts, **{f"hubstack:{key}": text for key, text in changes.items()}})
    answers = {"aws:ec2/getInstanceType:getInstanceType": lambda _given: {"defaultVcpus": 8, "memorySize": 32768}}
    return record(lambda: SwarmCluster("lab", settings.swarm_cluster()), answers).registrations


@pytest.fixture(scope="module")
def stack() -> list[Registration]:
    return prod()


def told(registrations: Sequence[Registration], **config: Any) -> list[tuple[str, str, Finding]]:
    """The check, the resource and the finding, each family as `policies/config/prod.json` sets it."""
    found: list[tuple[str, str, Finding]] = []
    for family in ("quotas", "egress", "exposure", "data"):
        settings = {**DEFAULTS, **LEVELS[f"hubstack-{family}"], **config}
        for r in registrations:
            properties = unknown_checking_proxy(r.properties)
            for check, finding in REGISTRY.findings(family, r.type, r.name, properties, settings):
                found.append((check.id, r.name, finding))
    joined = {**DEFAULTS, **LEVELS["hubstack-joined"], **config}
    for check, resource, finding in REGISTRY.stack_findings(after(registrations), joined):
        found.append((check.id, resource.name, finding))
    return found


def violations(registrations: Sequence[Registration], **config: Any) -> set[str]:
    return {check for check, _, _ in told(registrations, **config)}


def test_every_policy_of_the_pack_is_mandatory_in_prod():
    assert {name for name, level in LEVELS.items() if level["enforcementLevel"] == "mandatory"} == {
        policy.name for policy in POLICIES
    }


def test_the_prod_stack_passes(stack: list[Registration]):
    assert told(stack) == []


def test_nothing_of_the_prod_stack_is_undecided_before_anything_of_it_is_made(stack: list[Registration]):
    resources = before(stack)
    settings = {**DEFAULTS, **LEVELS["hubstack-exposure"]}
    alone = [
        (check.id, r.name, finding)
        for r in resources
        for check, finding in REGISTRY.findings(None, r.type, r.name, r.inputs, settings)
    ]

    assert alone == []
    assert [finding for _, _, finding in REGISTRY.stack_findings(resources, settings)] == []


def test_an_open_profile_passes_where_it_is_allowed_and_nowhere_else():
    opened = prod(egressProfile=EgressProfile.OPEN.value)

    assert told(opened, allowOpen=True) == []
    assert violations(opened) == {"egress-profile", "guard-ranges", "joined-egress"}


def test_every_service_and_network_of_the_stack_file_is_judged(stack: list[Registration]):
    [bundle] = [r for r in stack if r.type == types.BUNDLE]
    parts = {part.name: part for part in carried(bundle.type, unknown_checking_proxy(bundle.properties))}

    assert sorted(parts) == [
        *("network control", "network edge", "network front", "network idle"),
        *("service hub", "service pre-puller", "service proxy", "service tls-proxy"),
    ]
    limits = parts["service hub"].properties["taskSpec"]["resources"]["limits"]
    assert limits == {"memoryBytes": 2.0**30, "nanoCpus": 1e9}


def files_of(content: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(base64.b64decode(content)))) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers()}


def in_file(name: str, change: Callable[[Any], object]) -> Change:
    """A change to a JSON file in the bundle."""

    def edit(properties: Properties) -> None:
        files = files_of(properties["contentBase64"])
        document = json.loads(files[name])
        change(document)
        files[name] = json.dumps(document).encode()
        properties["contentBase64"] = base64.b64encode(archive(files)).decode()

    return edit


def in_service(name: str, **changes: Any) -> Change:
    """A change to keys of a service in the stack file; None leaves one out."""

    def change(document: Any) -> None:
        service = document["services"][name]
        service.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del service[key]

    return in_file("stack.json", change)


def in_network(name: str, **changes: Any) -> Change:
    return in_file("stack.json", lambda document: document["networks"][name].update(changes))


def in_settings(change: Callable[[Any], object]) -> Change:
    return in_file("hub-settings.json", change)


def replaced(key: str, old: str, new: str) -> Change:
    def edit(properties: Properties) -> None:
        assert old in properties[key]
        properties[key] = properties[key].replace(old, new)

    return edit


def options(properties: Properties) -> Properties:
    return properties["metadataOptions"]


BUNDLE = ("lab-bundle", types.BUNDLE)
HTTPS, HTTP = ("lab-https", types.LISTENER), ("lab-http", types.LISTENER)
WORKER, MANAGER = ("lab-worker", types.LAUNCH_TEMPLATE), ("lab-manager-2", types.INSTANCE)
SOCKET = {"type": "bind", "source": "/var/run/docker.sock", "target": "/s"}
RIGHTS, GUARD_SHAPED = ["CAP_NET_ADMIN"], ["python", "-m", "runtime.egress_guard"]

BAD_CHANGES: list[tuple[tuple[str, str], Change, str]] = [
    (HTTPS, lambda p: p.update(protocol="HTTP"), "listener-tls"),
    (HTTPS, lambda p: p.update(sslPolicy="ELBSecurityPolicy-2016-08"), "listener-tls-version"),
    (HTTPS, lambda p: p.pop("sslPolicy"), "listener-tls-version"),
    (HTTP, lambda p: p["defaultActions"][0].update(type="forward"), "listener-tls"),
    (HTTP, lambda p: p["defaultActions"][0]["redirect"].update(protocol="HTTP"), "listener-tls"),
    (("lab", types.TARGET_GROUP), lambda p: p.update(protocol="HTTP"), "target-tls"),
    (("lab-files", types.FILE_SYSTEM), lambda p: p.update(encrypted=False), "disk-encrypted"),
    (("lab-files", types.FILE_SYSTEM_POLICY), replaced("policy", "Deny", "Allow"), "file-system-tls"),
    (("lab-files", types.FILE_SYSTEM_POLICY), replaced("policy", '"false"', '"true"'), "file-system-tls"),
    (
        ("lab-files", types.FILE_SYSTEM_BACKUP),
        lambda p: p["backupPolicy"].update(status="DISABLED"),
        "file-system-backup",
    ),
    (("lab-workers", types.AUTO_SCALING_GROUP), lambda p: p.update(maxSize=1001), "fleet-size"),
    (("lab-workers", types.AUTO_SCALING_GROUP), lambda p: p.pop("maxSize"), "fleet-size"),
    (WORKER, lambda p: options(p).update(httpPutResponseHopLimit=2), "metadata-hops"),
    (MANAGER, lambda p: options(p).update(httpTokens="optional"), "metadata-token"),
    (MANAGER, lambda p: p.update(associatePublicIpAddress=True), "no-public-address"),
    (MANAGER, lambda p: p.update(keyName="me"), "no-host-key"),
    (MANAGER, lambda p: p.update(instanceType="p4d.24xlarge"), "instance-size"),
    (
        ("lab-manager-from-front", types.INGRESS_RULE),
        lambda p: p.update(cidrIpv4="0.0.0.0/0", referencedSecurityGroupId=None),
        "security-group-ingress",
    ),
    (("lab-front-from-everybody-https", types.INGRESS_RULE), lambda p: p.update(fromPort=22), "no-shell-port"),
    (
        ("lab-member-to-internet-https", types.EGRESS_RULE),
        lambda p: p.update(ipProtocol="-1", fromPort=None, toPort=None),
        "security-group-egress",
    ),
    (
        ("lab-worker", types.ROLE_POLICY),
        replaced("policy", "autoscaling:CompleteLifecycleAction", "autoscaling:*"),
        "role-actions",
    ),
    (
        ("lab-manager", types.ROLE_POLICY),
        lambda p: p.update(
            policy=p["policy"].replace('"ecr:GetAuthorizationToken"', '"secretsmanager:PutSecretValue"')
        ),
        "role-resources",
    ),
    (("lab-hub", types.AWS_SECRET), lambda p: p.update(recoveryWindowInDays=0), "secret-recovery"),
    (("lab-bundle", types.BUCKET_ACCESS), lambda p: p.update(restrictPublicBuckets=False), "bucket-private"),
    (BUNDLE, in_service("hub", image="hubstack/hub:latest"), "image-pinned"),
    (BUNDLE, in_service("hub", image=None), "image-pinned"),
    (BUNDLE, in_service("proxy", privileged=True), "no-privileges"),
    (BUNDLE, in_service("proxy", pid="host"), "no-privileges"),
    (BUNDLE, in_service("hub", cap_add=["SYS_ADMIN"]), "no-privileges"),
    (BUNDLE, in_service("hub", cap_add=RIGHTS, command=GUARD_SHAPED), "no-privileges"),
    (BUNDLE, in_service("proxy", devices=["/dev/sda:/dev/sda"]), "no-privileges"),
    (BUNDLE, in_service("proxy", cap_drop=None), "capabilities-dropped"),
    (BUNDLE, in_service("proxy", read_only=False), "read-only-root"),
    (BUNDLE, in_service("tls-proxy", volumes=[SOCKET]), "docker-socket"),
    (BUNDLE, in_service("proxy", volumes=["/var/run/docker.sock:/var/run/docker.sock:ro"]), "docker-socket"),
    (BUNDLE, in_service("hub", volumes=["/etc:/host-etc"]), "sensitive-mount"),
    (BUNDLE, in_service("hub", volumes=[{**SOCKET, "source": "/root/.docker"}]), "sensitive-mount"),
    (BUNDLE, in_service("proxy", ports=[{"target": 8001, "published": 8001, "mode": "host"}]), "published-port"),
    (BUNDLE, in_service("proxy", ports=["8001:8001"]), "published-port"),
    (BUNDLE, in_service("hub", ports=["8081"]), "published-port"),
    (BUNDLE, in_service("proxy", networks={"host": {}}), "no-host-network"),
    (BUNDLE, in_service("proxy", networks=["bridge"]), "no-host-network"),
    (BUNDLE, in_service("proxy", network_mode="host"), "no-host-network"),
    (BUNDLE, in_service("proxy", environment={"CONFIGPROXY_AUTH_TOKEN": "x"}), "secret-in-environment"),
    (BUNDLE, in_service("proxy", environment=["CONFIGPROXY_AUTH_TOKEN=x"]), "secret-in-environment"),
    (BUNDLE, in_service("proxy", deploy={"resources": {"limits": {"cpus": "1"}}}), "service-memory-limit"),
    (BUNDLE, in_service("proxy", deploy={"resources": {"limits": {"memory": "64M"}}}), "service-cpu-limit"),
    (BUNDLE, in_service("proxy", deploy=None), "service-memory-limit"),
    (BUNDLE, in_network("edge", internal=False), "network-internal"),
    (BUNDLE, in_network("control", attachable=True), "network-not-attachable"),
    (
        BUNDLE,
        in_file("stack.json", lambda d: d["secrets"].update({"tls-key": {"file": "./tls-key"}})),
        "stack-file-secrets",
    ),
    (BUNDLE, in_file("stack.json", lambda d: d.pop("services")), "stack-file-readable"),
    (BUNDLE, in_file("stack.json", lambda d: d["services"].update(hub=[])), "stack-file-readable"),
    (BUNDLE, in_settings(lambda d: d["quota"].pop("processes")), "user-quota-complete"),
    (BUNDLE, in_settings(lambda d: d["quota"].update(memory_bytes=2**40)), "user-quota-maximum"),
    (BUNDLE, in_settings(lambda d: d["fleet"].update(servers=0)), "fleet-cap"),
    (BUNDLE, in_settings(lambda d: d["egress"].update(profile="open")), "egress-profile"),
]


@pytest.mark.parametrize(("where", "change", "check"), BAD_CHANGES)
def test_a_bad_change_to_the_prod_stack_is_refused(
    stack: list[Registration], where: tuple[str, str], change: Change, check: str
):
    changed = copy.deepcopy(stack)
    [target] = [r for r in changed if (r.name, r.type) == where]
    change(target.properties)

    assert (check, where[0]) in {(found, name) for found, name, _ in told(changed)}


def test_what_is_wrong_in_a_stack_file_is_named_with_its_service(stack: list[Registration]):
    changed = copy.deepcopy(stack)
    [target] = [r for r in changed if r.type == types.BUNDLE]
    in_service("proxy", read_only=False)(target.properties)

    [(_, name, finding)] = told(changed)

    assert name == "lab-bundle"
    assert finding.message.startswith("service proxy of its stack file: can write to its root file system")


GUARD_WEAKENINGS: list[tuple[Change, str]] = [
    (in_service("egress-guard", deploy={"labels": {"hubstack.role": "hub"}}), "no-privileges"),
    (in_service("egress-guard", deploy={"labels": {"hubstack.role": "hub"}}), "no-host-network"),
    (in_service("egress-guard", command=["sh", "-c", "sleep infinity"]), "no-host-network"),
    (in_service("egress-guard", entrypoint=["sh", "-c", "sleep infinity"]), "no-privileges"),
    (in_service("egress-guard", entrypoint="sh -c 'sleep infinity'"), "no-host-network"),
    (in_service("egress-guard", command="sh -c 'sleep infinity'"), "no-privileges"),
    (in_service("egress-guard", cap_add=["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]), "no-privileges"),
    (in_service("egress-guard", networks=["bridge"]), "no-host-network"),
]


@pytest.mark.parametrize(("change", "check"), GUARD_WEAKENINGS)
def test_the_guards_rights_go_to_nothing_but_the_guard(change: Change, check: str):
    changed = prod(egressProfile=EgressProfile.OPEN.value)
    [target] = [r for r in changed if r.type == types.BUNDLE]
    change(target.properties)

    assert check in violations(changed, allowOpen=True)


def bundle_of(document: Any) -> Properties:
    return {"contentBase64": base64.b64encode(archive({"stack.json": json.dumps(document).encode()})).decode()}


def service_of(service: Mapping[str, Any], networks: Mapping[str, Any] | None = None) -> Properties:
    document = {"services": {"one": service}, "networks": networks or {}}
    [part, *_] = carried(types.BUNDLE, unknown_checking_proxy(bundle_of(document)))
    return part.properties


@pytest.mark.parametrize(
    ("memory", "expected"),
    [("268435456", 2**28), ("256M", 2**28), ("256mb", 2**28), ("1.5g", 1.5 * 2**30), (1024, 1024), ("lots", None)],
)
def test_sizes_are_read_as_the_client_reads_them(memory: Any, expected: float | None):
    limits = service_of({"deploy": {"resources": {"limits": {"memory": memory, "cpus": "0.5"}}}})
    found = limits["taskSpec"]["resources"]["limits"]

    assert found == {"memoryBytes": expected, "nanoCpus": 5e8}


@pytest.mark.parametrize(
    ("port", "published"),
    [("8001:80", "8001"), ("127.0.0.1:8001:80", "8001"), ("80", "80"), (80, 80), ({"published": 1, "target": 2}, 1)],
)
def test_ports_are_published_in_every_form(port: Any, published: Any):
    assert service_of({"ports": [port]})["endpointSpec"]["ports"] == [{"publishedPort": published}]


@pytest.mark.parametrize(
    ("volume", "kind", "source"),
    [
        ("/etc:/x:ro", "bind", "/etc"),
        ("./here:/x", "bind", "./here"),
        ("data:/x", "volume", "data"),
        ("/x", "volume", ""),
        ({"type": "bind", "source": "/etc", "target": "/x"}, "bind", "/etc"),
    ],
)
def test_mounts_are_read_in_every_form(volume: Any, kind: str, source: str):
    [mount] = service_of({"volumes": [volume]})["taskSpec"]["containerSpec"]["mounts"]

    assert mount == {"type": kind, "source": source}


def test_a_network_goes_by_the_name_that_it_has_outside_the_file():
    networks = {"innocent": {"external": True, "name": "host"}}
    [joined] = service_of({"networks": ["innocent"]}, networks)["taskSpec"]["networksAdvanceds"]

    assert joined == {"name": "host"}


def test_other_resources_carry_nothing():
    assert list(carried(types.CONFIG, unknown_checking_proxy(bundle_of({"services": {"one": {}}})))) == []


KEYS = ["services", "networks", "secrets", "deploy", "labels", "volumes", "ports", "command", "environment", "cap_add"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, json_values, json_values)
def test_no_stack_file_makes_the_pack_fail_to_answer(service: Any, network: Any, secrets: Any):
    document = {"services": {"one": service}, "networks": network, "secrets": secrets}

    findings = REGISTRY.findings(None, types.BUNDLE, "b", unknown_checking_proxy(bundle_of(document)), DEFAULTS)

    assert all(finding.message for _, finding in findings)
