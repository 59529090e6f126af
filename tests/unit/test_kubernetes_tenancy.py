"""A namespace's quota and limits: room for every server and for the system, and no more."""

from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.kubernetes.quantities import count_quantity, cpu_quantity, parse_quantity, size_quantity
from components.kubernetes.tenancy import (
    Room,
    Tenancy,
    TenancyArgs,
    check_hard,
    check_tenancy,
    limit_range_spec,
    limited_resources,
    pod_security_labels,
    resource_quota_spec,
    user_resources,
)
from components.quotas import FleetQuota, UserQuota
from tests.unit.recording import Recorder, Registration, record

ARGS: TenancyArgs = {
    "stack": "lab",
    "namespace": "lab-users",
    "system": {"hub": {"cpu": 1, "memory": "1G", "volumes": 1, "volume": "4G", "services": 3}},
    "serviceAccounts": ["editor", "viewer"],
    "roles": [
        {
            "name": "readers",
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
            "subjects": [{"kind": "ServiceAccount", "name": "viewer"}, {"kind": "User", "name": "ada"}],
        },
        {"name": "editors", "clusterRole": "edit", "subjects": [{"kind": "ServiceAccount", "name": "editor"}]},
    ],
}

sizes = st.integers(128, 1 << 20).map(lambda number: f"{number}M") | st.integers(1, 512).map(lambda n: f"{n}G")
users: st.SearchStrategy[UserQuota] = st.fixed_dictionaries(
    {
        "cpu": st.floats(0.1, 128),
        "memory": sizes,
        "home": sizes,
        "tmp": st.integers(1, 100).map(lambda number: f"{number}M"),
    }
)  # pyright: ignore[reportAssignmentType]
fleets: st.SearchStrategy[FleetQuota] = st.fixed_dictionaries({"servers": st.integers(1, 1000)})  # pyright: ignore[reportAssignmentType]
rooms: st.SearchStrategy[Room] = st.fixed_dictionaries(
    {},
    optional={
        "pods": st.integers(0, 20),
        "cpu": st.floats(0, 16),
        "memory": sizes,
        "scratch": sizes,
        "volumes": st.integers(0, 5),
        "volume": sizes,
        "services": st.integers(0, 5),
        "loadBalancers": st.integers(0, 2),
        "nodePorts": st.integers(0, 4),
    },
)  # pyright: ignore[reportAssignmentType]
systems = st.dictionaries(st.sampled_from(["hub", "proxy", "probe"]), rooms)
COMPUTE = ("cpu", "memory", "ephemeral-storage")


def build(**args: object) -> Recorder:
    return record(lambda: Tenancy("lab", {**ARGS, **args}))  # pyright: ignore[reportArgumentType]


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type.endswith(f":{kind}")}


def amount(text: str) -> float:
    return parse_quantity(text)


def own(room: Room, key: str) -> float:
    """What one pod of the system may take, from what a container without limits gets if it says nothing."""
    name = {"cpu": "cpu", "memory": "memory", "ephemeral-storage": "scratch"}[key]
    given: Any = room.get(name, {"cpu": 0.5, "memory": "256M", "scratch": "128M"}[name])
    return given if key == "cpu" else amount(f"{given}i")


@given(users, fleets, systems, st.booleans())
def test_a_full_fleet_and_the_system_fit_the_quota_and_not_one_server_more(
    user: UserQuota, fleet: FleetQuota, system: dict[str, Room], persistent: bool
):
    hard = resource_quota_spec(user, fleet, system=system, persistent_home=persistent)["hard"]
    server = user_resources(user, persistent_home=persistent)
    servers = fleet.get("servers", 0)
    for kind, key in ((kind, key) for kind in ("requests", "limits") for key in COMPUTE):
        taken = sum(room.get("pods", 1) * own(room, key) for room in system.values())
        one = amount(server[kind][key])
        assert servers * one + taken <= amount(hard[f"{kind}.{key}"]) * (1 + 1e-9)
        slack = sum(room.get("pods", 1) for room in system.values()) * (0.001 if key == "cpu" else 0)
        assert (servers + 1) * one + taken + slack > amount(hard[f"{kind}.{key}"]) * (1 - 1e-9) - slack


@given(users, fleets, systems, st.booleans())
def test_objects_are_counted_and_ways_into_the_cluster_are_none_unless_the_system_has_one(
    user: UserQuota, fleet: FleetQuota, system: dict[str, Room], persistent: bool
):
    hard = resource_quota_spec(user, fleet, system=system, persistent_home=persistent)["hard"]
    servers = fleet.get("servers", 0)

    def of(key: str) -> float:
        return sum(room.get(key, 0) for room in system.values())  # pyright: ignore[reportReturnType]

    assert amount(hard["pods"]) == servers + sum(room.get("pods", 1) for room in system.values())
    assert amount(hard["services"]) == servers + of("services")
    assert amount(hard["services.loadbalancers"]) == of("loadBalancers")
    assert amount(hard["services.nodeports"]) == of("nodePorts")
    assert amount(hard["persistentvolumeclaims"]) == persistent * servers + of("volumes")


@given(users, systems, st.booleans())
def test_every_server_and_every_pod_of_the_system_fits_the_limit_range(
    user: UserQuota, system: dict[str, Room], persistent: bool
):
    container, pod, *volumes = limit_range_spec(user, system=system, persistent_home=persistent)["limits"]
    server = user_resources(user, persistent_home=persistent)["limits"]
    for key in COMPUTE:
        largest = amount(container["max"][key])
        assert container["max"] == pod["max"]
        assert largest >= amount(server[key])
        assert all(largest >= own(room, key) * (1 - 1e-9) for room in system.values())
        assert amount(container["defaultRequest"][key]) <= amount(container["default"][key]) <= largest
    wanted = [amount(f"{user.get('home', '')}i")] if persistent else []
    wanted += [amount(f"{room.get('volume', '1G')}i") for room in system.values() if room.get("volumes", 0)]
    assert [amount(volume["max"]["storage"]) for volume in volumes] == ([max(wanted)] if wanted else [])


@given(users, st.booleans())
def test_a_server_is_kept_its_memory_and_disk_whole_and_a_part_of_its_processors(user: UserQuota, persistent: bool):
    resources = user_resources(user, persistent_home=persistent)
    requests, limits = resources["requests"], resources["limits"]

    assert requests["memory"] == limits["memory"]
    assert requests["ephemeral-storage"] == limits["ephemeral-storage"]
    assert 0 < amount(requests["cpu"]) <= amount(limits["cpu"])


def test_a_home_on_the_nodes_disk_counts_as_such_and_one_on_a_volume_does_not():
    user: UserQuota = {"home": "2G", "tmp": "256M"}

    assert user_resources(user)["limits"]["ephemeral-storage"] == "2560Mi"
    assert user_resources(user, persistent_home=True)["limits"]["ephemeral-storage"] == "512Mi"
    assert resource_quota_spec(user, {"servers": 3}, persistent_home=True)["hard"]["requests.storage"] == "6Gi"
    assert resource_quota_spec(user, {"servers": 3})["hard"]["requests.storage"] == "0"


@given(st.integers(0, 10**7))
def test_amounts_are_written_as_the_api_server_writes_them(number: int):
    size, cpu, count = size_quantity(number * 2**20), cpu_quantity(number / 1000), count_quantity(number)

    assert amount(size) == number * 2**20
    assert amount(cpu) == pytest.approx(number / 1000)
    assert amount(count) == number
    # The canonical form: no larger unit divides the number.
    assert (not size.endswith("Ei") and int(size.rstrip("MGTPi")) % 1024) or size == "0"
    assert not any(text.rstrip("mkMG").endswith("000") for text in (cpu, count))


@pytest.mark.parametrize("text", ["", "many", "1GB", "1 Gi", "--1", "1i"])
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(ValueError, match="is no amount"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("1e3", 1000), ("1.5Gi", 1.5 * 2**30), ("2k", 2000), ("100u", 1e-4), (".5", 0.5)]
)
def test_an_amount_is_read_in_every_notation(text: str, value: float):
    assert parse_quantity(text) == pytest.approx(value)


def test_the_namespace_enforces_warns_and_records_a_standard_of_a_named_release():
    labels = pod_security_labels()

    assert {key.rpartition("/")[2]: value for key, value in labels.items()} == {
        **dict.fromkeys(("enforce", "warn", "audit"), "restricted"),
        **dict.fromkeys(("enforce-version", "warn-version", "audit-version"), "v1.34"),
    }
    assert set(pod_security_labels("baseline").values()) == {"baseline", "v1.34"}


def test_a_tenancy_has_quota_and_limits_for_the_same_server():
    recorder = build()
    [quota] = of_type(recorder, "ResourceQuota").values()
    [limits] = of_type(recorder, "LimitRange").values()
    [namespace] = of_type(recorder, "Namespace").values()

    assert quota.properties["spec"] == resource_quota_spec({}, {}, system=ARGS.get("system"))
    assert limits.properties["spec"] == limit_range_spec({}, system=ARGS.get("system"))
    for made in (quota, limits):
        assert made.properties["metadata"]["namespace"] == "lab-users"
        assert namespace.urn in made.dependencies
    assert pod_security_labels().items() <= namespace.properties["metadata"]["labels"].items()


def test_service_accounts_hand_out_no_token_unless_a_pod_asks():
    accounts = of_type(build(), "ServiceAccount")

    assert sorted(accounts) == ["lab-editor", "lab-viewer"]
    assert all(account.properties["automountServiceAccountToken"] is False for account in accounts.values())


def test_roles_are_bound_to_their_subjects_within_the_namespace():
    recorder = build()
    bindings = {r.properties["metadata"]["name"]: r.properties for r in of_type(recorder, "RoleBinding").values()}
    [role] = of_type(recorder, "Role").values()
    group = "rbac.authorization.k8s.io"

    assert role.properties["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    assert bindings["readers"]["roleRef"] == {"apiGroup": group, "kind": "Role", "name": "readers"}
    assert bindings["readers"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "viewer", "namespace": "lab-users"},
        {"kind": "User", "name": "ada", "apiGroup": group},
    ]
    assert bindings["editors"]["roleRef"] == {"apiGroup": group, "kind": "ClusterRole", "name": "edit"}


def test_everything_is_a_child_of_the_component_and_labelled_with_the_stack():
    recorder = build()
    [component] = of_type(recorder, "Tenancy").values()
    children = [r for r in recorder.registrations if r.type.startswith("kubernetes:")]

    assert len(children) == 8
    assert all(child.parent == component.urn for child in children)
    assert all(child.properties["metadata"]["labels"]["hubstack.stack"] == "lab" for child in children)
    assert recorder.outputs[component.urn] == sorted(Tenancy.__annotations__)


@pytest.mark.parametrize("keep", [True, False])
def test_a_namespace_outlives_the_stack_if_it_says_so(keep: bool):
    [namespace] = of_type(build(keep=keep), "Namespace").values()

    assert namespace.retain_on_delete is keep


def test_given_limits_take_the_place_of_computed_ones():
    [quota] = of_type(build(hard={"pods": "40", "count/jobs.batch": "2"}), "ResourceQuota").values()
    computed = resource_quota_spec({}, {}, system=ARGS.get("system"))["hard"]

    assert quota.properties["spec"]["hard"] == {**computed, "pods": "40", "count/jobs.batch": "2"}


@pytest.mark.parametrize(
    ("hard", "more"),
    [
        ({}, ()),
        ({"requests.nvidia.com/gpu": "1", "requests.hugepages-2Mi": "1Gi"}, ("hugepages-2Mi", "nvidia.com/gpu")),
        ({"requests.memory": "4Gi", "requests.storage": "4Gi", "pods": "2", "count/jobs.batch": "2"}, ()),
        # Kubernetes takes these for names, and counts nothing by them.
        ({"nvidia.com/gpu": "1", "limits.nvidia.com/gpu": "1", "requests.it's": "1", "requests.": "1"}, ()),
    ],
    ids=["none", "devices and pages", "no resources of containers", "no limits"],
)
def test_containers_may_ask_for_what_every_quota_limits_and_for_what_this_one_names(
    hard: dict[str, str], more: tuple[str, ...]
):
    assert limited_resources(hard) == (*COMPUTE, *more)


@pytest.mark.parametrize("key", ["limits.memory", "requests.memory", "memory", "limits.cpu", "cpu", "pods"])
def test_a_quota_smaller_than_one_user_is_refused(key: str):
    user: UserQuota = {"cpu": 2, "memory": "1G"}
    least = user_resources(user)
    needed = {"limits.memory": "1Gi", "requests.memory": "1Gi", "memory": "1Gi", "limits.cpu": "2", "pods": "1"}
    needed["cpu"] = least["requests"]["cpu"]

    [error] = check_hard({key: "0"}, user)

    assert error == {
        "property_path": f"hard.{key}",
        "reason": f"0 has no room for one server, which takes {needed[key]}",
    }
    assert check_hard({key: needed[key]}, user) == []


def test_a_quota_without_room_for_a_server_beside_the_system_is_refused():
    system: dict[str, Room] = {"hub": {"memory": "1G"}}
    [error] = check_hard({"limits.memory": "1536Mi"}, {"memory": "1G"}, system=system)

    assert error["reason"] == "1536Mi has no room for one server beside the system's own pods, which takes 2Gi"
    assert check_hard({"limits.memory": "2Gi"}, {"memory": "1G"}, system=system) == []


@given(users, systems)
def test_a_computed_quota_is_never_too_small_for_one_user(user: UserQuota, system: dict[str, Room]):
    assert check_hard(resource_quota_spec(user, {"servers": 1}, system=system)["hard"], user, system=system) == []


def test_every_mistake_is_reported_at_once():
    errors = check_tenancy(
        {
            "stack": "lab",
            "namespace": "Lab_Users",
            "podSecurity": "privileged",
            "userQuota": {"cpu": 0},
            "fleetQuota": {"servers": 0},
            "system": {"hub": {"memory": "much", "pods": -1}},
            "roles": [{"name": "none", "subjects": []}],
        }
    )

    assert [error["property_path"] for error in errors] == [
        "namespace",
        "podSecurity",
        "roles[0]",
        "userQuota.cpu",
        "fleetQuota.servers",
        "system.hub.memory",
        "system.hub.pods",
    ]


def test_what_is_no_amount_in_a_given_quota_is_named():
    assert [e["property_path"] for e in check_tenancy({**ARGS, "hard": {"pods": "some", "limits.cpu": "1k"}})] == [
        "hard.pods"
    ]


def test_wrong_arguments_stop_the_component_before_it_registers_a_child():
    with pytest.raises(pulumi.InputPropertiesError, match="lab cannot be deployed"):
        build(namespace="Lab")
