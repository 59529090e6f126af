"""What a cluster is asked before an EphemeralHub is made in it: its namespace, the hub in it, and rights."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime.config import set_all_config

from components import EphemeralHub
from components.kubernetes.hub_front import FrontKind
from components.kubernetes.hub_preflight import require_place
from components.kubernetes.hub_rights import ephemeral_needs
from components.kubernetes.occupancy import occupancy_mistakes
from components.kubernetes.tenancy import pod_security_labels
from tests.unit.ephemeral_hub import ARGS, EVERYTHING, POLICY, of_type
from tests.unit.recording import Recorder, record
from tests.unit.test_cluster_access import kubeconfig


def existing(labels: dict[str, str]) -> Recorder:
    answers = {"kubernetes:core/v1:Namespace": lambda _: {"metadata": {"name": "lab", "labels": labels}}}
    return record(lambda: EphemeralHub("lab", {**ARGS, "createNamespace": False}), answers)


def test_nothing_of_a_hub_stays_in_a_namespace_that_was_there_before():
    recorder = existing({"pod-security.kubernetes.io/enforce": "restricted", "hubstack.stack": "lab"})

    assert [policy.name for policy in of_type(recorder, POLICY).values() if policy.retain_on_delete] == []


def test_a_namespace_that_is_there_is_used_if_it_is_guarded():
    recorder = existing({"pod-security.kubernetes.io/enforce": "restricted", "hubstack.stack": "lab"})

    assert of_type(recorder, "kubernetes:core/v1:Namespace") == {}
    [quota] = of_type(recorder, "kubernetes:core/v1:ResourceQuota").values()
    assert quota.properties["metadata"]["namespace"] == "lab"


def test_a_namespace_that_is_unguarded_or_somebody_elses_is_refused():
    with pytest.raises(pulumi.RunError) as caught:
        existing({"hubstack.stack": "other"})

    assert "kubectl label --overwrite namespace lab pod-security.kubernetes.io/enforce=restricted" in str(caught.value)
    assert "it belongs to the stack 'other'" in str(caught.value)


def test_a_second_hub_in_a_namespace_is_refused_and_in_its_own_it_is_not():
    def two(second: str) -> None:
        EphemeralHub("lab", {**ARGS, "namespace": "lab"})
        EphemeralHub("lab2", {**ARGS, "namespace": second})

    record(lambda: two("lab2"))
    with pytest.raises(pulumi.InputPropertiesError) as caught:
        record(lambda: two("lab"))

    assert caught.value.errors is not None
    assert [error["reason"] for error in caught.value.errors] == ["lab has a hub already, lab; each needs its own"]


def test_a_namespace_with_another_releases_hub_is_refused_before_anything_is_made():
    guarded = {**pod_security_labels(), "hubstack.stack": "lab"}

    def told(labels: dict[str, str] | None, release: str | None, *, create: bool = True) -> list[str]:
        return occupancy_mistakes("ns", labels, release, stack="lab", create=create)

    assert told(None, None) == []
    assert told(guarded, "lab") == []
    assert told(guarded, "lab", create=False) == []
    assert told(guarded, "other") == ["the namespace ns has a hub already, of the release other; each needs its own"]
    assert told({}, None) == ["the namespace ns is there already; choose another, or set createNamespace to false"]
    assert told({"hubstack.stack": "b"}, None) == [
        "the namespace ns belongs to the stack b; choose another, or set createNamespace to false"
    ]
    assert told(None, None, create=False) == ["there is no namespace ns; make it, or let the stack by createNamespace"]


def test_rights_are_asked_for_where_they_are_needed():
    needed, granted = ephemeral_needs("lab", ARGS)
    asked = {str(right) for right in needed}

    assert "create networkpolicies.networking.k8s.io in namespace lab" in asked
    assert "create namespaces" in asked
    assert not any("clusterroles" in right or "ingresses" in right or "persistentvolumes" in right for right in asked)
    assert "delete pods in namespace lab" in {str(right) for right in granted}
    more, _ = ephemeral_needs("lab", {**ARGS, **EVERYTHING, "front": {"kind": FrontKind.INGRESS}})
    asked = {str(right) for right in more}
    assert {"create clusterroles.rbac.authorization.k8s.io", "create persistentvolumes"} <= asked
    assert "create ingresses.networking.k8s.io in namespace lab" in asked


def test_a_scheduler_of_the_hubs_own_needs_all_that_its_role_hands_on_in_the_whole_cluster():
    needed, granted = ephemeral_needs("lab", {**ARGS, "userScheduler": True})
    handed = {str(right) for right in granted}

    budget = "poddisruptionbudgets.policy"
    assert {f"create {budget} in namespace lab", f"delete {budget} in namespace lab"} <= {str(one) for one in needed}
    assert {
        *("watch nodes", "create pods/binding", "patch pods/status", "delete pods", f"list {budget}"),
        *("create leases.coordination.k8s.io", "get csinodes.storage.k8s.io", "patch persistentvolumes"),
    } <= handed
    without = ephemeral_needs("lab", ARGS)
    assert not any("poddisruptionbudgets" in str(right) for rights in without for right in rights)
    assert all(right.namespace == "lab" for right in without[1])


@contextmanager
def cluster(allowed: Callable[[Mapping[str, Any]], bool], found: Mapping[str, Any]) -> Iterator[str]:
    """Address of an API server that answers access reviews by `allowed` and has the objects `found` by their paths."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, code: int, body: object) -> None:
            told = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.answer(201, {**review, "status": {"allowed": allowed(review["spec"]["resourceAttributes"])}})

        def do_GET(self) -> None:
            code = 403 if found.get(self.path) == "forbidden" else 200 if self.path in found else 404
            self.answer(code, found[self.path] if code == 200 else {"kind": "Status", "code": code, "message": "no"})

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        # More connections at once than its own 5, which a loaded machine would refuse.
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


NAMESPACE, HUB_SERVICE = "/api/v1/namespaces/lab", "/api/v1/namespaces/lab/services/hub"


def refused(allowed: Callable[[Mapping[str, Any]], bool], found: Mapping[str, Any]) -> str:
    """What a program says that may not deploy to such a cluster."""
    with cluster(allowed, found) as server:
        return refused_by(kubeconfig(server))


def refused_by(configuration: str) -> str:
    set_all_config({"kubernetes:kubeconfig": configuration})
    try:
        with pytest.raises(pulumi.RunError) as caught:
            require_place("lab", ARGS)
    finally:
        set_all_config({})
    return str(caught.value)


def no_secrets(attributes: Mapping[str, Any]) -> bool:
    return attributes["resource"] != "secrets" and attributes["verb"] != "*"


def test_missing_rights_and_an_occupied_namespace_are_told_at_once():
    namespace = {"metadata": {"name": "lab", "labels": {"hubstack.stack": "other"}}}
    service = {"metadata": {"name": "hub", "annotations": {"meta.helm.sh/release-name": "theirs"}}}

    told = refused(no_secrets, {NAMESPACE: namespace, HUB_SERVICE: service})

    assert "you may not create secrets in namespace lab\n" in told
    assert "the namespace lab belongs to the stack other; choose another, or set createNamespace to false\n" in told
    assert "the namespace lab has a hub already, of the release theirs; each needs its own" in told
    assert f"for {told.count('  - ')} reason(s):" in told


def test_who_may_not_look_into_the_namespace_hears_of_the_right_alone():
    told = refused(lambda one: no_secrets(one) and one["resource"] != "namespaces", {NAMESPACE: "forbidden"})

    assert "you may not get namespaces\n" in told
    assert "cannot be looked at" not in told
    assert "the namespace lab cannot be looked at" in refused(lambda _: True, {NAMESPACE: "forbidden"})


FAILING = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}


@pytest.mark.parametrize(
    ("place", "user"),
    [
        ({}, {}),
        ({"server": "https://127.0.0.1:1", "certificate-authority": "/nowhere/ca.crt"}, {}),
        ({}, FAILING),
    ],
    ids=["nobody there", "no authority", "a login that fails"],
)
def test_a_cluster_that_cannot_be_asked_is_told_once(place: dict[str, str], user: dict[str, Any]):
    configuration = yaml.safe_load(kubeconfig())
    configuration["clusters"][0]["cluster"] |= place
    configuration["users"][0]["user"] = user or configuration["users"][0]["user"]

    told = refused_by(yaml.safe_dump(configuration))

    assert "for 1 reason(s):" in told
    assert "no cluster answers at " in told
