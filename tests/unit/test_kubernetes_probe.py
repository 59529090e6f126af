"""The egress probe: what it tries for each profile, the Job that runs it, and what it takes for an answer."""

import ast
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pulumi
import pulumi_random as random
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.docker.overlay import plan_addresses
from components.docker.probe import destinations as swarm_destinations
from components.egress import NEVER_REACHED, EgressProfile, check_egress
from components.kubernetes.isolation import EgressRules, deny_all_policy, user_egress_policy
from components.kubernetes.probe import (
    KUBERNETES_API,
    PROBE_ROOM,
    EgressProbe,
    EgressProbeArgs,
    forbidden_destinations,
    job_name,
    job_spec,
    probe_document,
)
from components.probe_destinations import (
    METADATA_SERVICES,
    NOT_LISTED,
    PRIVATE_NEIGHBOURS,
    PROBE_SOURCE,
    Destination,
    destination,
)
from policies.network_policies import Union
from runtime.egress_probe import __main__ as egress_probe
from tests.unit.kubernetes_pods import assert_restricted, assert_within
from tests.unit.recording import record

USER = {"app": "jupyterhub", "component": "singleuser-server"}
HUB = destination("tcp", "hub", 8081, "the hub's API")


def rules(
    profile: EgressProfile,
    ports: Sequence[int] = (),
    domains: Sequence[str] = ("pypi.org",),
    excluded: Sequence[str] = (),
) -> EgressRules:
    return {"profile": profile, "domains": list(domains), "ports": list(ports), "excluded": list(excluded)}


def args(profile: EgressProfile = EgressProfile.DOMAINS, **more: Any) -> EgressProbeArgs:
    given: EgressProbeArgs = {
        "stack": "lab",
        "namespace": "lab-users",
        "image": "registry.example.org/notebook:1",
        "podLabels": USER,
        "egress": rules(profile),
        "required": [HUB],
    }
    return {**given, **more}  # pyright: ignore[reportReturnType]


def is_address(host: str) -> bool:
    return host[0].isdigit() or ":" in host


@given(
    st.sampled_from(EgressProfile),
    st.lists(st.sampled_from([22, 80, 443, 8443]), max_size=4),
    st.lists(st.ip_addresses(v=4).map(lambda one: f"{ip_network(f'{one}/24', strict=False)}"), max_size=3),
)
def test_the_probe_forbids_nothing_that_the_profiles_policies_allow(
    profile: EgressProfile, ports: list[int], excluded: list[str]
):
    egress = rules(profile, ports, excluded=excluded)
    policies = [deny_all_policy(), user_egress_policy(egress, user_pods=USER, proxy=None)]
    union = Union.of(policies, USER, "lab-users", "Egress")

    for one in forbidden_destinations(egress):
        if is_address(one["host"]):
            assert not union.reaches_address(one["host"], one["port"], one["kind"].upper()), one


@pytest.mark.parametrize("profile", EgressProfile)
def test_every_profile_forbids_metadata_private_ranges_the_node_and_the_kubernetes_api(profile: EgressProfile):
    found = forbidden_destinations(rules(profile, [443]))
    hosts = {(one["host"], one["port"]) for one in found}

    assert KUBERNETES_API in found
    assert all(one in found for one in (*METADATA_SERVICES, *PRIVATE_NEIGHBOURS))
    assert {("$NODE_ADDRESS", 10250), ("2606:4700:4700::1111", 443), ("kube-dns.kube-system.svc", 9153)} <= hosts


@pytest.mark.parametrize(
    ("profile", "ports", "tried"),
    [
        (EgressProfile.CLOSED, [], {22, 53, 80, 443, 853}),
        (EgressProfile.DOMAINS, [], {22, 53, 80, 443, 853}),
        (EgressProfile.PORTS, [443, 22], {53, 80, 853}),
        (EgressProfile.PORTS, [], {22, 53, 80, 443, 853}),
        (EgressProfile.OPEN, [], set()),
    ],
)
def test_public_addresses_are_forbidden_on_every_port_that_the_profile_does_not_open(
    profile: EgressProfile, ports: list[int], tried: set[int]
):
    found = forbidden_destinations(rules(profile, ports))

    assert {d["port"] for d in found if d["host"] in {"1.1.1.1", "8.8.8.8"} and d["kind"] == "tcp"} == tried
    assert any(d["kind"] == "udp" and d["port"] == 53 for d in found) is (profile is not EgressProfile.OPEN)


@pytest.mark.parametrize(
    ("profile", "ports", "port"),
    [
        (EgressProfile.CLOSED, [], 443),
        (EgressProfile.DOMAINS, [], 443),
        (EgressProfile.PORTS, [8443, 22], 22),
        (EgressProfile.OPEN, [], 443),
    ],
)
def test_an_address_of_each_excluded_range_is_forbidden_on_a_port_that_is_open_elsewhere(
    profile: EgressProfile, ports: list[int], port: int
):
    ranges = ["203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"]
    found = forbidden_destinations(rules(profile, ports, excluded=ranges))

    assert {one["host"]: (one["kind"], one["port"]) for one in found if "excluded" in one["why"]} == dict.fromkeys(
        ("203.0.113.1", "198.51.100.7", "2001:db8::1"), ("tcp", port)
    )


def test_only_closed_forbids_names():
    assert {p for p in EgressProfile if any(d["kind"] == "dns" for d in forbidden_destinations(rules(p)))} == {
        EgressProfile.CLOSED
    }


def test_the_proxy_must_refuse_what_is_not_listed_under_domains():
    required = probe_document(args())["required"]
    asked = {one["target"]: (one["host"], one["status"]) for one in required if one["kind"] == "proxy"}

    assert asked == dict.fromkeys((NOT_LISTED, "169.254.169.254:443"), ("egress-proxy.lab-users", 403))
    assert check_egress("domains", [NOT_LISTED.partition(":")[0]], []), "no list may hold it"
    elsewhere = probe_document(args(proxyNamespace="operator"))["required"]
    assert {one["host"] for one in elsewhere if one["kind"] == "proxy"} == {"egress-proxy.operator"}


@pytest.mark.parametrize("profile", set(EgressProfile) - {EgressProfile.DOMAINS})
def test_other_profiles_have_no_proxy_and_ask_none(profile: EgressProfile):
    assert probe_document(args(profile))["required"] == [HUB]


def test_domains_without_one_have_no_proxy_and_ask_none():
    assert probe_document(args(egress=rules(EgressProfile.DOMAINS, domains=[])))["required"] == [HUB]


def test_further_destinations_are_forbidden_beside():
    neighbour = destination("tcp", "jupyter-bob", 8888, "another user's server")

    assert neighbour in probe_document(args(forbidden=[neighbour]))["forbidden"]


def test_the_job_runs_once_as_a_users_pod_and_is_kept_for_its_message():
    spec = job_spec(args())
    pod = spec["template"]["spec"]
    [container] = pod["containers"]

    assert (spec["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert spec["activeDeadlineSeconds"] <= 600
    assert "ttlSecondsAfterFinished" not in spec
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert USER.items() <= spec["template"]["metadata"]["labels"].items()
    assert container["command"][:3] == ["python3", "-c", PROBE_SOURCE.read_text()]
    assert json.loads(container["command"][3]) == probe_document(args())


def test_labels_of_users_pods_win_over_the_jobs_own():
    spec = job_spec(args(podLabels={"hubstack.role": "notebook"}))

    assert spec["template"]["metadata"]["labels"] == {"hubstack.stack": "lab", "hubstack.role": "notebook"}


def test_the_pod_is_restricted_and_fits_the_room_that_is_made_for_it():
    pod = job_spec(args())["template"]["spec"]

    assert_restricted(pod)
    assert_within(pod, 2, {"probe": PROBE_ROOM})


def test_kubernetes_expands_nothing_in_the_command():
    assert not any("$(" in text for text in job_spec(args())["template"]["spec"]["containers"][0]["command"])


@pytest.mark.parametrize(
    "change",
    [
        {"egress": rules(EgressProfile.CLOSED)},
        {"podLabels": {"component": "other"}},
        {"image": "registry.example.org/notebook:2"},
        {"required": []},
        {"forbidden": [HUB]},
        {"egress": rules(EgressProfile.DOMAINS, excluded=["203.0.113.0/24"])},
        {"tolerations": [{"key": "users", "operator": "Exists"}]},
        {"proves": "another policy"},
    ],
)
def test_a_change_of_what_is_tried_is_tried_anew(change: dict[str, Any]):
    assert job_name(job_spec(args())) == job_name(job_spec(args()))
    assert job_name(job_spec(args(**change))) != job_name(job_spec(args()))


def test_the_component_registers_one_job_after_what_it_depends_on():
    def program() -> None:
        first = random.RandomId("first", byte_length=4)
        EgressProbe("lab-probe", args(), pulumi.ResourceOptions(depends_on=[first]))

    recorder = record(program)
    [component] = [r for r in recorder.registrations if r.type.endswith(":EgressProbe")]
    [job] = [r for r in recorder.registrations if r.type.startswith("kubernetes:")]

    assert job.parent == component.urn
    assert job.properties["metadata"]["name"] == job_name(job_spec(args()))
    assert any(urn.endswith("::first") for urn in job.dependencies)
    assert recorder.outputs[component.urn] == ["job"]


def test_a_swarms_probe_still_tries_what_it_did():
    closed = swarm_destinations(plan_addresses("10.213.0.0/16"), "closed")
    opened = swarm_destinations(plan_addresses("10.213.0.0/16"), "open")

    assert all(one in opened for one in (*METADATA_SERVICES, *PRIVATE_NEIGHBOURS))
    assert {"1.1.1.1", "8.8.8.8", "9.9.9.9", "example.org"} <= {one["host"] for one in closed}
    assert not {"1.1.1.1", "8.8.8.8", "9.9.9.9", "example.org"} & {one["host"] for one in opened}


def test_every_range_of_private_addresses_has_a_neighbour_that_is_tried():
    tried = {one["host"].split(".")[0] for one in (*METADATA_SERVICES, *PRIVATE_NEIGHBOURS)}

    assert {
        text.split(".")[0] for text in NEVER_REACHED if text.split(".")[0] in {"10", "172", "100", "169", "168"}
    } <= tried


@contextmanager
def listening(answer: Callable[[socket.socket], None] | None = None) -> Iterator[int]:
    """A TCP port on loopback that answers."""

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    if answer:
                        answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=[server], daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


@pytest.fixture
def closed_port() -> int:
    """A port on loopback where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def here(port: int, kind: str = "tcp", **more: Any) -> Destination:
    return {**destination(kind, "127.0.0.1", port, "this machine"), **more}  # pyright: ignore[reportReturnType]


def saying(status: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    return answer


def run(document: dict[str, Any]) -> tuple[int, str]:
    """The probe as it is run anywhere: exit code and output."""
    command = [sys.executable, "-c", PROBE_SOURCE.read_text(), json.dumps(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("words", [False, True])
def test_what_answers_and_must_not_fails_the_probe_and_is_named(words: bool):
    with listening() as port:
        code, told = run({"forbidden": [here(port)], "required": [], "words": words})

    expected = f"tcp 127.0.0.1 port {port} answered and must not (this machine)"
    assert code == 1
    assert told == (expected if words else json.dumps({"answered": [here(port)], "missing": [], "tried": 1}))


def test_a_refused_connection_is_an_answer_unless_the_neighbour_may_be_reached(closed_port: int):
    code, told = run({"forbidden": [here(closed_port), here(closed_port, refusal=True)], "required": []})

    assert (code, json.loads(told)["answered"]) == (1, [here(closed_port)])


@pytest.mark.parametrize("words", [False, True])
def test_a_probe_of_nothing_but_silence_passes(words: bool):
    silent = here(0, "dns", host="name.invalid")
    with listening() as port:
        code, told = run({"forbidden": [silent], "required": [here(port)], "words": words})

    assert code == 0
    assert told == (
        "all 2 destinations behave as they must" if words else json.dumps({"answered": [], "missing": [], "tried": 2})
    )


def test_what_must_answer_and_does_not_fails_the_probe(closed_port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(egress_probe, "NEIGHBOUR_WAIT_SECONDS", 0.1)
    needed = here(closed_port, refusal=True)

    report = egress_probe.probe({"forbidden": [], "required": [needed]})

    assert report["missing"] == [needed]
    assert "did not answer and must" in egress_probe.explain(report)


@pytest.mark.parametrize(("status", "missing"), [(b"403 Forbidden", 0), (b"200 Connected", 1), (b"503 No", 1)])
def test_a_proxy_answers_by_the_status_that_is_wanted(status: bytes, missing: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(egress_probe, "NEIGHBOUR_WAIT_SECONDS", 0.1)
    with listening(saying(status)) as port:
        asked = here(port, "proxy", target=NOT_LISTED, status=403)
        report = egress_probe.probe({"forbidden": [], "required": [asked]})

    assert len(report["missing"]) == missing
    assert (f"for {NOT_LISTED} did not answer and must" in egress_probe.explain(report)) is bool(missing)


def test_a_proxy_that_is_not_there_does_not_answer(closed_port: int):
    assert egress_probe.answers(here(closed_port, "proxy", target=NOT_LISTED, status=403)) is False


def test_a_host_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NODE_ADDRESS", "127.0.0.1")
    with listening() as port:
        node = destination("tcp", "$NODE_ADDRESS", port, "the node")
        report = egress_probe.probe({"forbidden": [node], "required": []})

    assert report["answered"] == [node]
    assert egress_probe.explain(report).startswith(f"tcp 127.0.0.1 port {port} answered")


def test_the_rest_waits_until_the_control_is_silent_twice_in_a_row(monkeypatch: pytest.MonkeyPatch):
    control, other = here(1), here(2)
    heard = iter([True, False, True, True, False, False])
    tried: list[int] = []

    def answers(destination: Destination, rejects: bool = False) -> bool:
        tried.append(destination["port"])
        return next(heard) if destination is control else False

    monkeypatch.setattr(egress_probe, "answers", answers)
    monkeypatch.setattr(egress_probe.time, "sleep", lambda _seconds: None)

    report = egress_probe.probe({"control": control, "forbidden": [other], "required": []})

    assert tried == [1, 1, 1, 1, 1, 1, 2]
    assert report["answered"] == []


def test_a_control_that_never_falls_silent_ends_the_wait_and_fails(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(egress_probe, "CONTROL_WAIT_SECONDS", 0.5)
    with listening() as port:
        report = egress_probe.probe({"control": here(port), "forbidden": [here(port)], "required": []})

    assert report["answered"] == [here(port)]


@pytest.mark.parametrize(("linux", "answered"), [((5, 15), False), ((5, 18), True), ((6, 1), True)])
def test_where_linux_cannot_tell_a_rejection_no_refusal_counts_if_the_engine_rejects(
    linux: tuple[int, int], answered: bool, closed_port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(egress_probe, "_linux", lambda: linux)

    assert egress_probe.answers(here(closed_port), rejects=True) is answered
    assert egress_probe.answers(here(closed_port)) is True


FIREWALL = """
import json, subprocess, sys
for command in (
    "ip link set lo up",
    "ip address add 198.51.100.77/32 dev lo",
    "ip address add 198.51.100.1/32 dev lo",
    "iptables -A OUTPUT -p tcp -d 198.51.100.77 -j REJECT",
):
    subprocess.run(command.split(), check=True)
from runtime.egress_probe.__main__ import answers
kinds = (("tcp", "198.51.100.77"), ("tcp", "198.51.100.1"), ("udp", "198.51.100.1"))
print(json.dumps([answers({"kind": kind, "host": host, "port": 9}) for kind, host in kinds]))
"""


def test_the_probe_is_written_for_python_3_9():
    assert ast.parse(PROBE_SOURCE.read_text(), feature_version=(3, 9))


def test_a_firewalls_refusal_is_no_answer_and_a_machines_is():
    if not shutil.which("iptables"):
        pytest.skip("this machine has no iptables")
    command = ["unshare", "--net", sys.executable, "-c", FIREWALL]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[2]
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine lets nobody have a network of their own")

    assert json.loads(done.stdout) == [False, True, True], done.stderr
