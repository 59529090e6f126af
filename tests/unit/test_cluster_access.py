"""Finding the cluster that a stack goes to, and which rights its deployer lacks there."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from lightkube.core.exceptions import ConfigError
from pulumi.runtime.config import set_all_config

from components.kubernetes.access_check import (
    cluster_mistakes,
    find_configuration,
    require_no_mistakes,
    stack_configuration,
)
from components.kubernetes.rights import ESCALATE, Right, granted_rights, missing_rights, needed_rights


def kubeconfig(server: str = "http://127.0.0.1:1", context: str = "lab") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [
                {"name": "one", "cluster": {"server": server}},
                {"name": "two", "cluster": {"server": "http://two"}},
            ],
            "users": [{"name": "deployer", "user": {"token": "t"}}],
            "contexts": [
                {"name": context, "context": {"cluster": "one", "user": "deployer"}},
                {"name": "other", "context": {"cluster": "two", "user": "deployer"}},
            ],
        }
    )


class Server(ThreadingHTTPServer):
    """Takes as many connections at once as rights are asked for."""

    request_queue_size = 128


@contextmanager
def api_server(allowed: Any, status: int = 201) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An API server that answers access reviews by `allowed`, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["content-length"])))
            attributes = review["spec"]["resourceAttributes"]
            asked.append(attributes)
            body = json.dumps({**review, "status": {"allowed": allowed(attributes)}}).encode()
            if status != 201:
                body = json.dumps({"kind": "Status", "code": status, "message": "who are you?"}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_waited_for_needs_more_rights_than_what_is_only_made():
    made = {right.verb for right in needed_rights(["core/v1:ConfigMap"])}
    awaited = {str(right) for right in needed_rights(["apps/v1:Deployment"], "lab")}

    assert made == {"create", "delete", "get", "patch"}
    assert "watch deployments.apps in namespace lab" in awaited
    assert "list events in namespace lab" in awaited


def test_what_lies_in_no_namespace_is_asked_for_everywhere():
    assert {right.namespace for right in needed_rights(["core/v1:Namespace"], "lab")} == {""}
    assert {right.namespace for right in needed_rights(["core/v1:Secret"], "lab")} == {"lab"}


def test_a_type_that_nobody_thought_of_is_an_error():
    with pytest.raises(KeyError):
        needed_rights(["batch/v1:CronJob"])


def test_a_role_hands_on_each_verb_of_each_of_its_kinds():
    found = granted_rights([{"apiGroups": ["", "apps"], "resources": ["pods/log"], "verbs": ["get", "list"]}])

    assert [str(right) for right in found] == [
        "get pods/log",
        "list pods/log",
        "get pods.apps/log",
        "list pods.apps/log",
    ]


def test_whoever_may_do_everything_is_asked_no_more():
    asked: list[Right] = []

    def ask(right: Right) -> bool:
        asked.append(right)
        return True

    assert missing_rights(needed_rights(["core/v1:Secret"]), [], ask) == []
    assert asked == [Right("*", "*", "*")]


def test_every_missing_right_is_named():
    needed = needed_rights(["core/v1:ConfigMap", "core/v1:Secret"])

    missing = missing_rights(needed, [], lambda right: right.resource == "configmaps")

    assert [str(right) for right in missing] == ["create secrets", "delete secrets", "get secrets", "patch secrets"]


def test_rights_that_roles_hand_on_matter_only_without_the_right_to_escalate():
    handed = granted_rights([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}])

    assert missing_rights([], handed, lambda _: False) == handed
    assert missing_rights([], handed, lambda right: right == ESCALATE) == []


def test_the_cluster_is_asked_in_the_words_of_an_access_review():
    with api_server(lambda attributes: attributes["resource"] != "secrets" and attributes["verb"] != "*") as (
        server,
        asked,
    ):
        configuration = find_configuration({"kubeconfig": kubeconfig(server)}, {})
        found = cluster_mistakes(configuration, needed_rights(["core/v1:Secret", "apps/v1:Deployment"], "lab"))

    assert [error["reason"] for error in found] == [
        f"at {server} (context lab) you may not {verb} secrets in namespace lab"
        for verb in ("create", "delete", "get", "patch")
    ]
    assert {"group": "apps", "resource": "deployments", "verb": "watch", "namespace": "lab"} in [
        {key: value for key, value in one.items() if value} for one in asked
    ]


def test_a_cluster_that_does_not_answer_is_named_with_its_context():
    configuration = find_configuration({"kubeconfig": kubeconfig()}, {})

    [found] = cluster_mistakes(configuration, needed_rights(["core/v1:Secret"]))

    assert found["reason"].startswith("no cluster answers at http://127.0.0.1:1 (context lab): ")


def test_a_cluster_that_does_not_know_the_deployer_says_so():
    with api_server(lambda _: True, status=401) as (server, _):
        configuration = find_configuration({"kubeconfig": kubeconfig(server)}, {})
        [found] = cluster_mistakes(configuration, [])

    assert "refuses to say what you may do: who are you?" in found["reason"]


def test_the_stacks_kubeconfig_goes_before_the_environments(tmp_path: Path):
    (tmp_path / "mine").write_text(kubeconfig("http://mine"))
    (tmp_path / "theirs").write_text(kubeconfig("http://theirs"))
    environment = {"KUBECONFIG": str(tmp_path / "theirs")}

    assert find_configuration({"kubeconfig": str(tmp_path / "mine")}, environment).cluster.server == "http://mine"
    assert find_configuration({}, environment).cluster.server == "http://theirs"


def test_of_several_files_the_first_with_the_context_counts(tmp_path: Path):
    (tmp_path / "first").write_text(kubeconfig("http://first", context="first"))
    (tmp_path / "second").write_text(kubeconfig("http://second", context="second"))
    environment = {"KUBECONFIG": f"{tmp_path / 'absent'}:{tmp_path / 'first'}:{tmp_path / 'second'}"}

    assert find_configuration({"context": "second"}, environment).cluster.server == "http://second"
    assert find_configuration({}, environment).cluster.server == "http://first"


def test_context_and_cluster_of_the_stack_are_used():
    assert find_configuration({"kubeconfig": kubeconfig(), "context": "other"}, {}).cluster.server == "http://two"
    assert find_configuration({"kubeconfig": kubeconfig(), "cluster": "two"}, {}).cluster.server == "http://two"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kubeconfig": "/nowhere/config"},
            "kubernetes:kubeconfig, '/nowhere/config' is neither a file nor a file's content",
        ),
        ({"kubeconfig": "token: [secret"}, "^kubernetes:kubeconfig is neither"),
        ({"kubeconfig": "clusters: none"}, "^kubernetes:kubeconfig is neither"),
        ({"kubeconfig": kubeconfig(), "context": "lost"}, "no context 'lost'"),
        ({"kubeconfig": kubeconfig(), "cluster": "lost"}, "no cluster 'lost'"),
        ({}, "there is no file /nowhere/else; name one with KUBECONFIG"),
    ],
)
def test_a_cluster_that_is_not_described_is_an_error_that_names_what_is_missing(settings: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        find_configuration(settings, {"KUBECONFIG": "/nowhere/else"})


def test_a_program_stops_and_names_all_that_is_missing():
    require_no_mistakes("hub", [])
    with api_server(lambda attributes: attributes["verb"] == "get") as (server, _):
        set_all_config({"kubernetes:kubeconfig": kubeconfig(server)})
        try:
            found = cluster_mistakes(stack_configuration(), needed_rights(["core/v1:Secret"]))
        finally:
            set_all_config({})

    with pytest.raises(pulumi.RunError) as caught:
        require_no_mistakes("hub", [one["reason"] for one in found])

    assert "the hub cannot be deployed, for 3 reason(s)" in str(caught.value)
    assert "you may not create secrets\n" in str(caught.value)


def test_a_program_without_any_cluster_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere/else")

    with pytest.raises(pulumi.RunError, match="no cluster to deploy to: there is no file /nowhere/else"):
        stack_configuration()
