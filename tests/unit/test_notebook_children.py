"""What the operator makes of a Notebook: plain objects from plain objects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.notebook_operator import children, names, pod
from runtime.notebook_operator.notebook import InvalidNotebookError, idle_seconds, parse_notebook
from tests.stacks import ROOT
from tests.unit.notebooks import IMAGE, body, notebook, notebook_defaults, settings


def spec_of(annotations: dict[str, str] | None = None, **parts: Any) -> dict[str, Any]:
    return pod.pod_spec(notebook(annotations=annotations, **parts), settings())


def variables(spec: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable for variable in spec["containers"][0]["env"]}


def test_a_bare_notebook_gets_the_defaults_of_a_restricted_pod() -> None:
    spec = spec_of()
    container = spec["containers"][0]
    assert spec["securityContext"] == {
        "runAsUser": 1000,
        "fsGroup": 100,
        "fsGroupChangePolicy": "OnRootMismatch",
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["serviceAccountName"] == "default-editor"
    assert spec["automountServiceAccountToken"] is False
    assert container["workingDir"] == "/home/jovyan"
    assert container["ports"] == [{"name": "notebook-port", "containerPort": 8888, "protocol": "TCP"}]
    assert container["resources"] == {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}}


def test_where_no_name_server_may_be_asked_a_look_up_fails_at_once_unless_the_user_says_otherwise() -> None:
    offline = settings(notebook=notebook_defaults(resolvesNames=False))
    spec = pod.pod_spec(notebook(), offline)
    own = pod.pod_spec(notebook(dnsPolicy="Default"), offline)

    assert (spec["dnsPolicy"], spec["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]})
    assert (own["dnsPolicy"], "dnsConfig" in own) == ("Default", False)
    assert "dnsPolicy" not in spec_of()


def test_what_the_user_says_wins() -> None:
    own = {
        "command": ["mine"],
        "args": ["--x"],
        "workingDir": "/work",
        "ports": [{"containerPort": 9999, "name": "web"}],
        "env": [{"name": "NB_PREFIX", "value": "/x"}, {"name": "JUPYTER_TOKEN", "value": ""}],
        "resources": {"requests": {"cpu": "2", "memory": "3Gi"}},
        "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}},
        "readinessProbe": {"httpGet": {"port": 9999}},
    }
    spec = spec_of(
        container=own,
        serviceAccountName="trainer",
        automountServiceAccountToken=True,
        securityContext={"runAsUser": 2000, "fsGroup": 300},
    )
    container = spec["containers"][0]
    for key in ("command", "args", "workingDir", "ports", "readinessProbe"):
        assert container[key] == own[key]
    assert container["image"] == "example.org/jupyter:1"
    assert variables(spec)["NB_PREFIX"] == {"name": "NB_PREFIX", "value": "/x"}
    assert variables(spec)["JUPYTER_TOKEN"] == {"name": "JUPYTER_TOKEN", "value": ""}
    assert container["securityContext"]["capabilities"] == own["securityContext"]["capabilities"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert spec["serviceAccountName"] == "trainer"
    assert spec["automountServiceAccountToken"] is True
    assert spec["securityContext"]["runAsUser"] == 2000
    assert spec["securityContext"]["fsGroup"] == 300
    assert container["resources"] == own["resources"], "a default limit could be below the user's request"


def test_the_base_url_is_the_route_for_every_way_that_images_read_it() -> None:
    spec = spec_of()
    prefix = "/notebook/alice/training"
    assert variables(spec)["NB_PREFIX"]["value"] == prefix
    assert f"--ServerApp.base_url={prefix}/ " in variables(spec)["NOTEBOOK_ARGS"]["value"]
    route = children.route(notebook(), settings())
    assert route
    assert route["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": prefix}}]
    assert notebook().url(settings()) == f"https://nb.example.org{prefix}/"
    assert notebook().url(settings(route={"kind": "none"})) == f"http://localhost:8888{prefix}/"


def test_the_platforms_own_image_is_started_as_jupyterlab_under_the_base_url() -> None:
    own = spec_of(container={"image": IMAGE})["containers"][0]
    assert own["args"][:2] == ["jupyter", "lab"]
    assert "--ServerApp.base_url=/notebook/alice/training/" in own["args"]
    assert "args" not in spec_of()["containers"][0]
    assert "args" not in spec_of({names.START: "image"}, container={"image": IMAGE})["containers"][0]
    assert spec_of({names.START: "jupyter"})["containers"][0]["args"][0] == "jupyter"
    assert spec_of(container={"image": IMAGE, "args": ["mine"]})["containers"][0]["args"] == ["mine"]
    assert "args" not in spec_of(container={"image": IMAGE, "command": ["mine"]})["containers"][0]


def test_the_token_comes_from_the_notebooks_secret() -> None:
    reference = {"secretKeyRef": {"name": "training-token", "key": "token"}}
    assert variables(spec_of())["JUPYTER_TOKEN"]["valueFrom"] == reference
    secret = children.token_secret(notebook(), settings(), "t0ken")
    assert secret["metadata"]["name"] == "training-token"
    assert secret["stringData"] == {"token": "t0ken"}


def test_of_two_variables_with_one_name_the_last_holds() -> None:
    twice = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "A", "value": "3"}]
    own = [
        variable for variable in spec_of(container={"env": twice})["containers"][0]["env"] if len(variable["name"]) == 1
    ]
    assert own == [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]


def test_the_seeds_annotations_set_user_group_and_home() -> None:
    spec = spec_of({names.USER_ID: "1234", names.GROUP_ID: "200", names.HOME_PATH: "/home/me/"})
    assert spec["securityContext"]["runAsUser"] == 1234
    assert spec["securityContext"]["runAsGroup"] == 200
    assert spec["securityContext"]["fsGroup"] == 200
    assert {"name": "home", "mountPath": "/home/me"} in spec["containers"][0]["volumeMounts"]
    assert spec["containers"][0]["workingDir"] == "/home/me"
    standard = spec_of({names.USER_ID: "-1", names.GROUP_ID: "-1"})["securityContext"]
    assert (standard["runAsUser"], standard["fsGroup"]) == (1000, 100)
    assert "runAsGroup" not in standard


def test_a_pod_that_asks_for_root_says_so_to_the_api_server() -> None:
    security = spec_of(securityContext={"runAsUser": 0})["securityContext"]
    assert (security["runAsUser"], security["runAsNonRoot"]) == (0, False)


def test_every_container_is_restricted() -> None:
    spec = spec_of(
        initContainers=[{"name": "init", "image": "i"}],
    )
    both = parse_notebook(body(), settings())
    two = {**both.template, "containers": [*both.template["containers"], {"name": "side", "image": "s"}]}
    side = pod.pod_spec(parse_notebook({**body(), "spec": {"template": {"spec": two}}}, settings()), settings())
    for container in (*spec["initContainers"], *side["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "env" not in side["containers"][1]


@pytest.mark.parametrize(
    ("annotations", "mount", "expected"),
    [
        ({}, None, ("training-home", True)),
        ({}, "/home/jovyan", None),
        ({}, "/home/jovyan/", None),
        ({}, "/home", None),
        ({}, "/", None),
        ({}, "/home/jovyan/data", ("training-home", True)),
        ({}, "/home/jov", ("training-home", True)),
        ({names.HOME_PATH: ""}, None, None),
        ({names.HOME_CLAIM: "mine"}, None, ("mine", False)),
        ({names.HOME_PATH: "/data"}, "/home/jovyan", ("training-home", True)),
    ],
)
def test_a_home_is_made_unless_the_user_mounts_one(
    annotations: dict[str, str], mount: str | None, expected: tuple[str, bool] | None
) -> None:
    mounts = {"volumeMounts": [{"name": "v", "mountPath": mount}]} if mount else {}
    made = notebook(annotations=annotations, container=mounts)
    assert pod.home_claim_name(made, settings()) == expected
    volumes = pod.pod_spec(made, settings()).get("volumes", [])
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes]
    assert claims == ([expected[0]] if expected else [])


def test_a_home_of_no_size_is_none() -> None:
    assert pod.home_claim_name(notebook(), settings(notebook=notebook_defaults(homeBytes=0))) is None


def test_the_homes_volume_takes_no_name_of_the_users() -> None:
    spec = spec_of(volumes=[{"name": "home", "emptyDir": {}}])
    volumes = [volume["name"] for volume in spec["volumes"]]
    assert len(set(volumes)) == 2
    assert spec["containers"][0]["volumeMounts"][-1]["name"] == volumes[-1] != "home"


def test_a_home_outlives_its_notebook_unless_the_notebook_says_so() -> None:
    kept = children.home_claim(notebook(), settings(), "training-home")
    assert kept["metadata"]["ownerReferences"] == []
    assert kept["spec"]["resources"]["requests"]["storage"] == str(1 << 30)
    assert "storageClassName" not in kept["spec"]
    gone = notebook(annotations={names.DELETE_HOME: "true", names.HOME_SIZE: "5Gi"})
    claim = children.home_claim(gone, settings(notebook=notebook_defaults(storageClass="fast")), "training-home")
    assert [owner["uid"] for owner in claim["metadata"]["ownerReferences"]] == ["uid-training"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert claim["spec"]["storageClassName"] == "fast"


def test_children_go_with_their_notebook_and_carry_the_stacks_labels() -> None:
    made = notebook(labels={"team": "x", names.ROLE: "egress-proxy", names.NOTEBOOK_NAME: "other"})
    things = [
        children.stateful_set(made, settings(), replicas=1),
        children.service(made, settings()),
        children.token_secret(made, settings(), "t"),
        children.route(made, settings()),
    ]
    for thing in things:
        assert thing
        owner = thing["metadata"]["ownerReferences"][0]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("uid-training", True, True)
        labels = thing["metadata"]["labels"]
        assert (labels[names.STACK], labels[names.ROLE]) == ("dev", "notebook")
    pod_labels = children.stateful_set(made, settings(), replicas=1)["spec"]["template"]["metadata"]["labels"]
    assert pod_labels["team"] == "x"
    assert pod_labels[names.ROLE] == "notebook", "a user could pass for the egress proxy otherwise"
    assert pod_labels[names.NOTEBOOK_NAME] == "training"


def test_annotations_are_copied_but_for_those_that_speak_of_the_notebook() -> None:
    own = {
        "accessLocalFs": "false",
        "disks": "null",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        names.LAST_ACTIVITY: "x",
        names.STOPPED: "x",
        "pulumi.com/patchForce": "true",
    }
    annotations = pod.pod_template(notebook(annotations=own), settings())["metadata"]["annotations"]
    assert set(annotations) == {"accessLocalFs", "disks", names.TEMPLATE}


def test_the_service_leads_from_port_80_to_the_servers_port() -> None:
    spec = children.service(notebook(), settings())["spec"]
    assert spec["ports"] == [{"name": "http-training", "port": 80, "protocol": "TCP", "targetPort": 8888}]
    other = children.service(notebook(container={"ports": [{"containerPort": 3838}]}), settings())
    assert other["spec"]["ports"][0]["targetPort"] == 3838
    labels = children.stateful_set(notebook(), settings(), replicas=1)["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()
    assert "controller-uid" not in other["metadata"]["labels"], "ownerReferences say whose it is"


def test_an_httproute_gives_slow_cells_time() -> None:
    route = children.route(notebook(), settings())
    assert route
    assert route["spec"]["parentRefs"] == [{"name": "notebooks", "namespace": "gateway"}]
    assert route["spec"]["hostnames"] == ["nb.example.org"]
    rule = route["spec"]["rules"][0]
    assert rule["timeouts"] == {"request": "300s", "backendRequest": "300s"}
    assert rule["backendRefs"] == [{"name": "training", "port": 80}]
    assert "filters" not in rule


def test_a_mapping_keeps_the_path_and_lets_websockets_through() -> None:
    mapping = children.route(notebook(), settings(route={"kind": "Mapping"}))
    assert mapping
    assert mapping["apiVersion"] == "getambassador.io/v3alpha1"
    assert mapping["spec"] == {
        "hostname": "nb.example.org",
        "prefix": "/notebook/alice/training/",
        "rewrite": "",
        "service": "training.alice:80",
        "timeout_ms": 300000,
        "idle_timeout_ms": 300000,
        "allow_upgrade": ["websocket"],
    }
    assert children.route(notebook(), settings(route={"kind": "none"})) is None


def test_kubeflows_rewrite_and_headers_reach_both_kinds_of_route() -> None:
    own = {names.REWRITE_PATH: "/", names.REQUEST_HEADERS: json.dumps({"X-RStudio-Root-Path": "/notebook/alice/r/"})}
    made = notebook(annotations=own)
    route = children.route(made, settings())
    assert route
    rewrite, headers = route["spec"]["rules"][0]["filters"]
    assert rewrite["urlRewrite"]["path"] == {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    assert headers["requestHeaderModifier"]["set"][0]["name"] == "X-RStudio-Root-Path"
    mapping = children.route(made, settings(route={"kind": "Mapping"}))
    assert mapping
    assert mapping["spec"]["rewrite"] == "/"
    assert mapping["spec"]["add_request_headers"] == {
        "X-RStudio-Root-Path": {"value": "/notebook/alice/r/", "append": False}
    }


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (names.USER_ID, "root"),
        (names.GROUP_ID, "1.5"),
        (names.TIME_TO_LIVE, "5m"),
        (names.TIME_TO_LIVE, "0"),
        (names.HOME_PATH, "home"),
        (names.REWRITE_PATH, "x"),
        (names.REWRITE_PATH, "/\n"),
        (names.REWRITE_PATH, "/a b"),
        (names.REWRITE_PATH, ""),
        (names.REQUEST_HEADERS, "[]"),
        (names.REQUEST_HEADERS, '{"a": 1}'),
        (names.REQUEST_HEADERS, "{"),
        (names.START, "lab"),
    ],
)
def test_a_senseless_annotation_is_named(annotation: str, text: str) -> None:
    with pytest.raises(InvalidNotebookError, match=annotation.replace(".", r"\.")):
        notebook(annotations={annotation: text})


@pytest.mark.parametrize(
    ("name", "value", "mistake"),
    [
        ("X-Share", "100%", "the value of X-Share must have no control character and no '%'"),
        ("X-Share", "%REQ(COOKIE)%", "no '%'"),
        ("X-Share", "a\nX-Other: b", "no control character"),
        ("X-Share", "a\rb", "no control character"),
        ("X-Share", "a\0b", "no control character"),
        ("X-Share", "a\tb", "no control character"),
        ("X-Share", "\x7f", "no control character"),
        ("X-Share", "\x85", "no control character"),
        ("X-Share", "\ud800", "no control character"),
        ("", "a", "'' is no name of a header"),
        ("X Share", "a", "'X Share' is no name of a header"),
        ("X-Share:", "a", "'X-Share:' is no name of a header"),
        ("X-Share\n", "a", r"'X-Share\n' is no name of a header"),
        ("X-Größe", "a", "is no name of a header"),
        (":path", "/", "':path' is no name of a header"),
        ("Host", "other.example.org", "Host is not for a route to set"),
    ],
)
def test_a_header_that_a_gateway_would_choke_on_is_named(name: str, value: str, mistake: str) -> None:
    own = {names.REQUEST_HEADERS: json.dumps({"X-Good": "/a b?c=d", name: value})}
    with pytest.raises(InvalidNotebookError) as caught:
        notebook(annotations=own)
    assert str(caught.value).startswith(f"annotation {names.REQUEST_HEADERS}: ")
    assert mistake in str(caught.value)


def test_every_other_header_reaches_the_route_as_it_is() -> None:
    given = {"X-A_b.c~1!#$&'*+^`|": '/a?b=c&d;e "f" {g}', "X-Size": "größe"}
    assert notebook(annotations={names.REQUEST_HEADERS: json.dumps(given)}).request_headers == given


def test_what_the_documentation_has_run_before_a_stack_is_destroyed_finds_notebooks_and_stops_them() -> None:
    text = (ROOT / "docs" / "notebooks.md").read_text()
    labels = children.stateful_set(notebook(), settings(), replicas=1)["metadata"]["labels"]
    stack = labels[names.STACK]
    selector = f"{names.STACK}={stack},{names.ROLE}={labels[names.ROLE]}"
    assert f"kubectl get statefulsets --all-namespaces --selector {selector}" in text.replace("<stack>", stack)
    assert f"kubectl annotate notebooks --all --all-namespaces {names.STOPPED}=" in text


@pytest.mark.parametrize("name", ["a" * 53, "1st", "a-", "A"])
def test_a_name_that_no_child_could_have_is_refused_even_past_the_definition(name: str) -> None:
    with pytest.raises(InvalidNotebookError, match="name"):
        notebook(name)


def test_a_time_to_live_shortens_the_platforms_limit_and_never_lengthens_it() -> None:
    assert idle_seconds(body(), settings()) == 600
    assert idle_seconds(body(ttlSecondsAfterFinished=300), settings()) == 300
    assert idle_seconds(body(annotations={names.TIME_TO_LIVE: "60"}, ttlSecondsAfterFinished=300), settings()) == 60
    assert idle_seconds(body(annotations={names.TIME_TO_LIVE: "99999"}), settings()) == 600


@pytest.mark.parametrize("senseless", ["soon", "-5", "0", "9" * 5000, ""])
def test_a_time_to_live_that_makes_no_sense_is_the_platforms(senseless: str) -> None:
    assert idle_seconds(body(annotations={names.TIME_TO_LIVE: senseless}), settings()) == 600
    with pytest.raises(InvalidNotebookError, match=names.TIME_TO_LIVE):
        notebook(annotations={names.TIME_TO_LIVE: senseless})


@pytest.mark.parametrize("template", [{"ttlSecondsAfterFinished": "soon"}, {"ttlSecondsAfterFinished": -1}])
def test_a_template_without_a_sensible_time_to_live_has_the_platforms(template: dict[str, Any]) -> None:
    assert idle_seconds(body(**template), settings()) == 600


def test_numbers_and_headers_without_an_end_are_named() -> None:
    with pytest.raises(InvalidNotebookError, match=names.USER_ID):
        notebook(annotations={names.USER_ID: "9" * 5000})
    with pytest.raises(InvalidNotebookError, match=names.REQUEST_HEADERS):
        notebook(annotations={names.REQUEST_HEADERS: "[" * 100_000})


@pytest.mark.parametrize(("asked", "given"), [(86400, 30), (30, 30), (5, 5), (0, 0)])
def test_a_stopped_pod_has_no_more_than_half_a_minute_to_end(asked: int, given: int) -> None:
    assert spec_of(terminationGracePeriodSeconds=asked)["terminationGracePeriodSeconds"] == given
    assert "terminationGracePeriodSeconds" not in spec_of(), "Kubernetes' own default is as long"
    assert "ttlSecondsAfterFinished" not in spec_of(ttlSecondsAfterFinished=300), "a pod has no such field"


def test_a_pod_is_replaced_for_its_users_changes_alone() -> None:
    plain = pod.template_digest(notebook())
    assert pod.template_digest(notebook(ttlSecondsAfterFinished=5)) == plain
    assert pod.template_digest(notebook(annotations={names.STOPPED: "x"}, labels={"a": "b"})) == plain
    assert pod.template_digest(notebook(container={"image": "other:2"})) != plain
    assert pod.template_digest(notebook(annotations={names.USER_ID: "5"})) != plain
    other = settings(notebook=notebook_defaults(environment={}, image=None))
    before = children.stateful_set(notebook(), settings(), replicas=1)["spec"]
    after = children.stateful_set(notebook(), other, replicas=1)["spec"]
    assert before["template"] != after["template"]
    annotations = [spec["template"]["metadata"]["annotations"] for spec in (before, after)]
    assert annotations[0] == annotations[1]
    assert before["updateStrategy"] == {"type": "OnDelete"}


def test_a_namespace_is_called_as_its_user_where_it_can_be() -> None:
    assert names.namespace_names("alice")[0] == "alice"
    assert names.namespace_names("Alice@Example.org")[0].startswith("alice-example-org-")
    for reserved in ("default", "kube-system"):
        assert reserved not in names.namespace_names(reserved)
        assert not any(name.startswith("kube-") for name in names.namespace_names(reserved))


@given(st.text(min_size=1, max_size=253))
def test_every_user_has_a_namespace_name(user: str) -> None:
    import re

    found = names.namespace_names(user)
    assert len(found) >= 2
    for name in found:
        assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 63


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_no_two_users_share_the_names_that_carry_a_hash(one: str, other: str) -> None:
    if one != other:
        assert names.namespace_names(one)[-1] != names.namespace_names(other)[-1]
