"""Each check: what passes, what is refused, what is missing, what cannot be decided, what is switched off."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi_policy.proxy import unknown_checking_proxy

from policies.container_group import MASQUERADE
from policies.egress.nodes import FORBIDDEN
from policies.pack import POLICIES
from policies.registry import REGISTRY
from policies.resource_types import CONFIG, CONTAINER, CONTAINER_GROUP, IMAGE, NETWORK, OPEN_NETWORK, SERVICE
from tests.policies.container_group_rows import GROUP_ROWS
from tests.policies.container_rows import CONTAINER_ROWS
from tests.policies.docker_cases import (
    GUARD,
    NODE_SERVICE,
    QUOTA,
    administered,
    container,
    guarding,
    mount,
    network,
    of_role,
    service,
    settings,
)
from tests.policies.rows import CONFIGURATION, UNKNOWN, Rows

HUB = "hub-settings"
GUARDED_NETWORKS = ("servers-network", "egress-network")
ROWS = {
    "service-memory-limit": Rows(
        SERVICE,
        [service()],
        [
            service(task={"resources": {"limits": {"memoryBytes": 0}}}),
            service(task={"resources": {"limits": {"memoryBytes": -1}}}),
        ],
        service(task={"resources": {}}),
        service(task={"resources": {"limits": {"memoryBytes": UNKNOWN}}}),
    ),
    "service-cpu-limit": Rows(
        SERVICE,
        [service()],
        [service(task={"resources": {"limits": {"nanoCpus": 0}}})],
        service(task={"resources": {}}),
        service(task={"resources": UNKNOWN}),
    ),
    "container-memory-limit": Rows(
        CONTAINER,
        [container()],
        [container(memory=0), container(memorySwap=1024), container(memorySwap=-1)],
        {"image": "a@sha256:abc"},
        container(memory=UNKNOWN),
    ),
    "container-cpu-limit": Rows(
        CONTAINER,
        [container()],
        [container(cpus=text) for text in ("0", "0.0", "-1", "all")],
        {"memory": 1},
        container(cpus=UNKNOWN),
    ),
    "user-quota-complete": Rows(
        CONFIG,
        [settings()],
        [settings(quota={**QUOTA, key: 0}) for key in QUOTA] + [{"data": "not base64!"}],
        settings(quota={}),
        {"data": UNKNOWN},
        name=HUB,
    ),
    "user-quota-maximum": Rows(
        CONFIG,
        [settings(), settings(quota={**QUOTA, "cpu": 8})],
        [settings(quota={**QUOTA, "cpu": 8.1}), settings(quota={**QUOTA, "max_age_seconds": 86401})],
        None,
        {"data": UNKNOWN},
        name=HUB,
    ),
    "fleet-cap": Rows(
        CONFIG,
        [settings(fleet={"servers": 100})],
        [settings(fleet={"servers": 101}), settings(fleet={"servers": 0}), settings(fleet={"servers": True})],
        settings(fleet={}),
        {"data": UNKNOWN},
        name=HUB,
    ),
    "network-internal": Rows(
        NETWORK,
        [
            network(),
            network("front-network", internal=False),
            *(network(role, internal=False, options={MASQUERADE: "false"}) for role in GUARDED_NETWORKS),
        ],
        [
            network(internal=False),
            {"internal": False},
            network("Front-Network", internal=False),
            network(internal=False, options={MASQUERADE: "false"}),
            *(network(role, internal=False) for role in GUARDED_NETWORKS),
            *(network(role, internal=False, options={MASQUERADE: "true"}) for role in GUARDED_NETWORKS),
        ],
        {"labels": []},
        network(internal=UNKNOWN),
    ),
    "network-not-attachable": Rows(
        NETWORK, [network(), network(attachable=False)], [network(attachable=True)], None, network(attachable=UNKNOWN)
    ),
    "no-host-network": Rows(
        SERVICE,
        [service(), container(networkMode="none"), guarding(networkMode="host")],
        [
            service(task={"networksAdvanceds": [{"name": "host"}]}),
            container(networksAdvanced=[{"name": "host"}]),
            of_role("egress-guard", "sh", networkMode="host"),
            guarding(networkMode="host", entrypoints=["sh"]),
            of_role("proxy", *GUARD, networkMode="host"),
            guarding(networkMode="default"),
            container(networkMode="host"),
            container(networkMode="bridge"),
            container(networkMode="container:other"),
        ],
        None,
        container(networkMode=UNKNOWN),
    ),
    "egress-profile": Rows(
        CONFIG,
        [settings()],
        [settings(egress={"profile": "open"}), settings(egress={"profile": "Closed"})],
        settings(egress={}),
        {"data": UNKNOWN},
        name=HUB,
    ),
    "open-network": Rows(OPEN_NETWORK, [], [{"stack": "hub"}], {}, None),
    "docker-socket": Rows(
        SERVICE,
        [
            service(),
            service({"mounts": [{"type": "bind", "source": "/var/run/docker.sock"}]}, role="hub"),
            of_role("node-service", *NODE_SERVICE, volumes=[{"hostPath": "/run/docker.sock"}]),
        ],
        [
            mount("/var/run/docker.sock"),
            of_role("node-service", "sh", volumes=[{"hostPath": "/run/docker.sock"}]),
            of_role("proxy", *NODE_SERVICE, volumes=[{"hostPath": "/run/docker.sock"}]),
            mount("/run/../run//docker.sock"),
            mount("/run/containerd/containerd.sock"),
            container(volumes=[{"hostPath": "/run/docker.sock"}]),
            container(mounts=[{"type": "bind", "source": "//var/run/docker.sock"}]),
        ],
        None,
        mount(UNKNOWN),
    ),
    "sensitive-mount": Rows(
        SERVICE,
        [service(), mount("/srv/shared"), mount("/var/run/docker.sock")],
        [
            mount("/"),
            mount("/etc/"),
            mount("/srv/../etc"),
            mount("/var/lib/docker"),
            container(volumes=[{"hostPath": "/proc"}]),
        ],
        None,
        None,
    ),
    "image-pinned": Rows(
        SERVICE,
        [
            service(),
            service({"image": "r/n@sha256:1"}),
            service({"image": UNKNOWN}),
            {"name": "hubstack/a:1f", "build": {}},
        ],
        [
            service({"image": "jupyter/singleuser"}),
            service({"image": "jupyter/singleuser:latest"}),
            service({"image": "host:5000/notebook"}),
            service({"image": "notebook:1.0"}),
            {"name": "notebook:latest", "build": {}},
        ],
        None,
        None,
    ),
    "no-privileges": Rows(
        CONTAINER,
        [container(), container(capabilities={"drops": ["ALL"]}), guarding(capabilities={"adds": ["NET_ADMIN"]})],
        [
            guarding(capabilities={"adds": ["NET_ADMIN", "SYS_ADMIN"]}),
            of_role("egress-guard", "sh", capabilities={"adds": ["NET_ADMIN"]}),
            guarding(devices=["NET_ADMIN"]),
            container(privileged=True),
            container(pidMode="host"),
            container(ipcMode="host"),
            container(capabilities={"adds": ["NET_ADMIN"]}),
            container(devices=[{"hostPath": "/dev/sda"}]),
            service({"capAdds": ["SYS_ADMIN"]}),
        ],
        None,
        container(privileged=UNKNOWN),
    ),
    "capabilities-dropped": Rows(
        SERVICE,
        [service()],
        [service({"capDrops": ["NET_RAW"]})],
        service({"capDrops": None}),
        service({"capDrops": UNKNOWN}),
    ),
    "read-only-root": Rows(
        SERVICE,
        [service(), container()],
        [service({"readOnly": False}), container(readOnly=False)],
        service({"readOnly": None}),
        service({"readOnly": UNKNOWN}),
    ),
    "published-port": Rows(
        SERVICE,
        [
            service(),
            service(role="tls-proxy", endpointSpec={"ports": [{"publishedPort": 443}]}),
            administered("127.0.0.1"),
        ],
        [
            administered("127.0.0.1", "sh"),
            container(publishAllPorts=True),
            service(endpointSpec={"ports": [{"publishedPort": 8001}]}),
            container(ports=[{"internal": 80, "external": 80}]),
        ],
        None,
        service(endpointSpec={"ports": UNKNOWN}),
    ),
    "secret-in-environment": Rows(
        SERVICE,
        [
            service({"env": {"CONTROL_SUBNET": "10.0.0.0/24", "TOKEN_FILE": "/run/secrets/token"}}),
            container(envs=["SECRETS=/run/hubstack"]),
        ],
        [service({"env": {"CONFIGPROXY_AUTH_TOKEN": "abc"}}), container(envs=["DB_PASSWORD=abc"])],
        None,
        service({"env": UNKNOWN}),
    ),
    **CONTAINER_ROWS,
    **GROUP_ROWS,
}


def findings(check: str, rows: Rows, properties: dict[str, Any], **config: Any) -> list[str]:
    wrapped = unknown_checking_proxy(properties)
    found = REGISTRY.findings(None, rows.type, rows.name, wrapped, {**CONFIGURATION, **rows.config, **config})
    return ["undecided" if finding.undecided else "violation" for c, finding in found if c.id == check]


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> tuple[str, Rows]:
    return request.param, ROWS[request.param]


def test_every_check_has_its_rows_and_every_row_its_check():
    # test_aws_checks.py has those on AWS's resources, test_kubernetes_access.py counts those on Kubernetes'.
    elsewhere = ("aws:", "kubernetes:")
    assert set(ROWS) == {c.id for c in REGISTRY.checks if not all(token.startswith(elsewhere) for token in c.types)}


def test_what_is_right_passes(row: tuple[str, Rows]):
    check, rows = row

    assert [findings(check, rows, good) for good in rows.good] == [[] for _ in rows.good]


def test_what_is_wrong_is_a_violation(row: tuple[str, Rows]):
    check, rows = row

    for bad in rows.bad:
        assert "violation" in findings(check, rows, bad), bad


def test_a_missing_property_is_a_violation(row: tuple[str, Rows]):
    check, rows = row

    if rows.missing is not None:
        assert "violation" in findings(check, rows, rows.missing)


def test_an_unknown_property_is_undecided_and_no_violation(row: tuple[str, Rows]):
    check, rows = row

    if rows.unknown is not None:
        assert set(findings(check, rows, rows.unknown)) == {"undecided"}


def test_a_check_that_is_switched_off_says_nothing(row: tuple[str, Rows]):
    check, rows = row

    assert all(findings(check, rows, bad, disabled=[check]) == [] for bad in rows.bad)


def test_an_open_profile_passes_where_it_is_allowed():
    rows = ROWS["egress-profile"]

    assert findings("egress-profile", rows, settings(egress={"profile": "open"}), allowOpen=True) == []


def test_servers_of_a_node_may_have_a_way_out_where_it_is_allowed_but_never_to_private_ranges():
    ranges = ROWS["guard-ranges"]
    more = [text for text in FORBIDDEN if text != "10.0.0.0/8"]

    assert findings("guard-ranges", ranges, guarding(*FORBIDDEN), allowOpen=True) == []
    assert findings("guard-ranges", ranges, guarding(*more, "10.0.0.0/9", "10.128.0.0/9"), allowOpen=True) == []
    assert findings("guard-ranges", ranges, guarding(*more, "10.0.0.0/9"), allowOpen=True) == ["violation"]


HALF_KNOWN_GUARDS = [
    of_role("egress-guard", *GUARD[:2], UNKNOWN),
    of_role(UNKNOWN, *GUARD, "servers0", "10.0.0.0/22", "0.0.0.0/0", "::/0"),
    {**guarding("0.0.0.0/0", "::/0"), "entrypoints": UNKNOWN},
]
HALF_KNOWN_SERVICES = [
    of_role("node-service", *GUARD[:2], UNKNOWN),
    of_role(UNKNOWN, *NODE_SERVICE),
    {**of_role("node-service"), "command": UNKNOWN},
]
RIGHTS = [
    ("no-host-network", HALF_KNOWN_GUARDS, {"networkMode": "host"}),
    ("no-privileges", HALF_KNOWN_GUARDS, {"capabilities": {"adds": ["NET_ADMIN"]}}),
    ("guard-ranges", HALF_KNOWN_GUARDS, {}),
    ("docker-socket", HALF_KNOWN_SERVICES, {"volumes": [{"hostPath": "/run/docker.sock"}]}),
    ("published-port", HALF_KNOWN_SERVICES, {"ports": [{"internal": 1, "external": 1, "ip": "127.0.0.1"}]}),
]


@pytest.mark.parametrize(("check", "containers", "right"), RIGHTS)
def test_rights_of_what_may_be_the_guard_or_the_service_are_undecided(
    check: str, containers: list[dict[str, Any]], right: dict[str, Any]
):
    rows = Rows(CONTAINER, [], [], None, None)

    assert [set(findings(check, rows, {**found, **right})) for found in containers] == [{"undecided"}] * 3


def test_one_unknown_property_does_not_hide_what_is_wrong_with_another():
    properties = service({"image": "x:latest", "readOnly": UNKNOWN}, task={"resources": UNKNOWN})
    found = REGISTRY.findings(None, SERVICE, "s", unknown_checking_proxy(properties), CONFIGURATION)

    assert sorted((check.id, finding.undecided) for check, finding in found) == [
        ("image-pinned", False),
        ("read-only-root", True),
        ("service-cpu-limit", True),
        ("service-memory-limit", True),
    ]


def test_every_check_explains_itself():
    identifiers = [check.id for check in REGISTRY.checks]

    assert len(identifiers) == len(set(identifiers)) >= 12
    for check in REGISTRY.checks:
        assert check.severity in {"low", "medium", "high", "critical"}
        assert check.remediation.endswith(".")
        assert check.description.endswith(".")


def test_the_pack_has_few_policy_objects():
    assert len(POLICIES) <= 7


@pytest.mark.parametrize("stack", ["dev", "ec2hub", "ephemeral", "platform", "prod", "tmpnb"])
def test_the_configuration_files_name_policies_that_exist(stack: str):
    from pathlib import Path

    text = (Path(__file__).parents[2] / "policies" / "config" / f"{stack}.json").read_text()

    assert set(json.loads(text)) <= {policy.name for policy in POLICIES}


values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(UNKNOWN),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "taskSpec",
                    "containerSpec",
                    "mounts",
                    "labels",
                    "label",
                    "ports",
                    "env",
                    "image",
                    "data",
                    "networksAdvanceds",
                    "type",
                    "containers",
                    "networks",
                    "servers",
                    "egress-guard",
                    "role",
                    "command",
                    "volumes",
                    "texts",
                    "probe",
                    "forbidden",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "taskSpec",
                "labels",
                "endpointSpec",
                "envs",
                "data",
                "mounts",
                "name",
                "devices",
                "spec",
                "images",
                "secrets",
            ]
        ),
        values,
    )
)
def test_no_properties_make_a_check_fail_to_answer(properties: dict[str, Any]):
    for kind in (SERVICE, CONTAINER, CONTAINER_GROUP, NETWORK, CONFIG, IMAGE):
        list(REGISTRY.findings(None, kind, HUB, unknown_checking_proxy(properties), CONFIGURATION))
