"""Mistakes in EphemeralHub's arguments and in a stack's configuration of it."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pulumi
import pytest

from components import EgressProfile
from components.kubernetes.hub_chart import CHART_IMAGES
from components.kubernetes.user_values import DECIDED
from components.settings import parse_settings
from tests.unit.ephemeral_hub import DOMAINS, PASSWORD, SHARED, build, mistakes
from tests.unit.ephemeral_hub import values as chart_values_of

MEMORY: dict[str, Any] = {"userQuota": {"memory": "1G"}}


def profile(own: dict[str, Any], choice: dict[str, Any] | None = None) -> dict[str, Any]:
    """Values with a profile, and a choice in it."""
    options = {"size": {"choices": {"small": {"kubespawner_override": choice}}}}
    more = {} if choice is None else {"profile_options": options}
    return {"singleuser": {"profileList": [{"display_name": "a", "kubespawner_override": own, **more}]}}


def leaves(part: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Everything in the values that is no object, by its path."""
    for key, value in part.items():
        if isinstance(value, dict):
            yield from leaves(cast("dict[str, Any]", value), (*above, key))
        else:
            yield ".".join((*above, key)), value


def nested(path: str) -> dict[str, Any]:
    """Values that set nothing but what is at the path."""
    given: Any = "anything"
    above, dotted, rest = path.partition(".hubstack.io/")
    steps = [*above.split("."), *([f"{dotted[1:]}{rest}"] if dotted else [])]
    for step in reversed(steps):
        given = {step: given}
    return given


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an image without a tag": ({"image": "jupyter/base"}, "image", "has no tag"),
    "the tag latest": ({"image": "jupyter/base:latest"}, "image", "latest"),
    "no image": ({"image": ""}, "image", "is no image"),
    "a further image without a tag": ({"extraImages": ["a/b:1", "a/c"]}, "extraImages[1]", "has no tag"),
    "an image that the chart has not": ({"chartImages": {"hubb": "a/b:1"}}, "chartImages.hubb", "no such image"),
    "a short password": ({"password": "short"}, "password", "5 characters; at least 8"),
    "a password beyond ASCII": ({"password": "straßenbahn"}, "password", "ASCII"),
    "a password for an open hub": (
        {"access": "open", "openToTheWorld": True, "password": PASSWORD},
        "password",
        "leave it out",
    ),
    "open without saying so twice": ({"access": "open"}, "access", "set openToTheWorld"),
    "open to the world with a password": ({"openToTheWorld": True}, "openToTheWorld", "leave it out"),
    "an unknown access": ({"access": "dummy"}, "access", "one of password"),
    "memory in Kubernetes' unit": ({"userQuota": {"memory": "2Gi"}}, "userQuota.memory", "such as 512M or 2G"),
    "a quota smaller than one user": ({"userQuota": {"memory": "64M"}}, "userQuota.memory", "at least 128M"),
    "no server at all": ({"fleetQuota": {"servers": 0}}, "fleetQuota.servers", "between 1 and 1000"),
    "an age below the idle time": ({"userQuota": {"idle": 600, "maxAge": 60}}, "userQuota.maxAge", "below idle"),
    "latest chart": ({"chartVersion": "latest"}, "chartVersion", "name one exactly"),
    "a range of charts": ({"chartVersion": ">=4"}, "chartVersion", "name one exactly"),
    "an old chart": ({"chartVersion": "3.3.8"}, "chartVersion", "older than 4.3.0"),
    "a chart that is not there": ({"chart": "./no/chart.tgz"}, "chart", "no archive or folder"),
    "a repository of a local chart": (
        {"chart": "./tests", "chartRepository": "https://a.b"},
        "chartRepository",
        "leave it out",
    ),
    "no address of a repository": ({"chartRepository": "mirror"}, "chartRepository", "is no address"),
    "the cluster's own namespace": ({"namespace": "kube-system"}, "namespace", "belongs to the cluster"),
    "no name of a namespace": ({"namespace": "Lab_1"}, "namespace", "is no name of a namespace"),
    "a shared folder without a server": ({"shared": {"share": "/homes"}}, "shared.server", "needs the NFS server"),
    "a shared folder without a path": ({"shared": {"server": "a", "share": "homes"}}, "shared.share", "is no path"),
    "a shared folder to write to": (
        {"shared": {"server": "a", "share": "/h", "mountOptions": ["rw"]}},
        "shared.mountOptions",
        "only read",
    ),
    "domains without a proxy": ({"egressDomains": ["pypi.org"]}, "egressProxyImage", "is no image"),
    "domains under another profile": (
        {**DOMAINS, "egressProfile": EgressProfile.OPEN},
        "egressDomains",
        "does not use it",
    ),
    "an unknown front": ({"front": {"kind": "tunnel"}}, "front.kind", "one of none"),
    "Let's Encrypt without an address": (
        {"front": {"kind": "letsencrypt"}, "domain": "a.example.org"},
        "front.email",
        "letsencrypt needs it",
    ),
    "a field of another front": ({"front": {"kind": "none", "email": "a@b"}}, "front.email", "no use for it"),
    "a front without a name": ({"front": {"kind": "offload"}}, "domain", "no name that users could type"),
    "no port": ({"apiServerPorts": [0]}, "apiServerPorts[0]", "is not a TCP port"),
    "no node": ({"nodes": 0}, "nodes", "between 1 and 1000"),
    "no time": ({"timeout": 5}, "timeout", "between 60 and 7200"),
    "no size": ({"databaseSize": "big"}, "databaseSize", "is not a size"),
    "a link that servers cannot follow": (
        {"contentLinks": [{"name": "a", "repository": "https://gitlab.com/a/b"}], **DOMAINS},
        "contentLinks[0].repository",
        "add it to egressDomains",
    ),
    "a link with a token": (
        {"contentLinks": [{"name": "a", "repository": "https://me:token@github.com/a/b"}], **DOMAINS},
        "contentLinks[0].repository",
        "password or a token",
    ),
    "a value that an argument decides": (
        {"values": {"singleuser": {"networkPolicy": {"enabled": False}}}},
        "values.singleuser.networkPolicy.enabled",
        "set egressProfile",
    ),
    "a value in the place of all that is below it": ({"values": {"singleuser": None}}, "values.singleuser", "cannot"),
    "a section that the chart has not": (
        {"values": {"singeluser": {}}},
        "values.singeluser",
        "did you mean singleuser",
    ),
    "tolerations that are no list": (
        {"values": {"singleuser": {"extraTolerations": None}}},
        "values.singleuser.extraTolerations",
        "the egress probe goes where users' pods go",
    ),
    "nothing in the place of tolerations": (
        {"values": {"scheduling": {"userPods": None}}},
        "values.scheduling.userPods",
        "an empty list",
    ),
    "a purpose of nodes that the chart does not know": (
        {"values": {"scheduling": {"userPods": {"nodeAffinity": {"matchNodePurpose": "must"}}}}},
        "values.scheduling.userPods.nodeAffinity.matchNodePurpose",
        "one of ignore, prefer, require",
    ),
    "a profile with memory in Kubernetes' unit": (
        {"values": {"singleuser": {"profileList": [{"kubespawner_override": {"mem_limit": "2Gi"}}]}}},
        "values.singleuser.profileList[0].kubespawner_override.mem_limit",
        "K, M, G or T",
    ),
    "a profile above the quota": (
        {"values": {"singleuser": {"profileList": [{"kubespawner_override": {"cpu_limit": 9}}]}}},
        "values.singleuser.profileList[0].kubespawner_override.cpu_limit",
        "raise userQuota.cpu",
    ),
    "a list in which the chart has its culler": (
        {"values": {"hub": {"config": {"JupyterHub": {"services": []}}}}},
        "values.hub.config.JupyterHub.services",
        "use hub.services and hub.loadRoles",
    ),
    "code that takes the place of such a list": (
        {
            "values": {
                "hub": {"extraConfig": {"50-roles": "roles = []\nif roles:\n    c.JupyterHub.load_roles = roles"}}
            }
        },
        "values.hub.extraConfig.50-roles",
        "use hub.services and hub.loadRoles",
    ),
    "a field of users' pods by KubeSpawner's name": (
        {"values": {"singleuser": {"extraPodConfig": {"active_deadline_seconds": 864000}}}},
        "values.singleuser.extraPodConfig.active_deadline_seconds",
        "set userQuota.maxAge",
    ),
    "another interval of activity": (
        {"values": {"singleuser": {"extraEnv": {"JUPYTERHUB_ACTIVITY_INTERVAL": "300"}}}},
        "values.singleuser.extraEnv.JUPYTERHUB_ACTIVITY_INTERVAL",
        "set userQuota.idle",
    ),
    "a profile with less memory than is kept for it": (
        {**MEMORY, "values": profile({"mem_limit": "512M"})},
        "values.singleuser.profileList[0].kubespawner_override.mem_limit",
        "below what is kept for the pod, 1024M: it could not start; set mem_guarantee too",
    ),
    "a profile with fewer processors than are kept for it": (
        {"userQuota": {"cpu": 4}, "values": profile({"cpu_limit": 0.5})},
        "values.singleuser.profileList[0].kubespawner_override.cpu_limit",
        "set cpu_guarantee too",
    ),
    "a choice with less than its profile keeps": (
        {**MEMORY, "values": profile({"mem_guarantee": "512M"}, {"mem_limit": "256M"})},
        "values.singleuser.profileList[0].profile_options.size.choices.small.kubespawner_override.mem_limit",
        "512M",
    ),
    "a choice that keeps more than its profile has": (
        {**MEMORY, "values": profile({"mem_guarantee": "256M", "mem_limit": "256M"}, {"mem_guarantee": "512M"})},
        "values.singleuser.profileList[0].profile_options.size.choices.small.kubespawner_override.mem_guarantee",
        "mem_limit is below",
    ),
    "a profile with privileges": (
        {"values": {"singleuser": {"profileList": [{"kubespawner_override": {"privileged": True}}]}}},
        "values.singleuser.profileList[0].kubespawner_override.privileged",
        "safety or quota",
    ),
}


@pytest.mark.parametrize(
    "values",
    [
        profile({"mem_limit": "512M", "mem_guarantee": "512M", "cpu_limit": 0.5, "cpu_guarantee": 0.1}),
        profile({"mem_guarantee": "256M"}, {"mem_limit": "512M"}),
        {"hub": {"extraConfig": {"50-more": "c.JupyterHub.services += []\nc.JupyterHub.load_roles.append({})"}}},
        {"hub": {"extraConfig": {"50-more": "no Python"}}},
        {"hub": {"services": {"reader": {}}, "loadRoles": {"reader": {"services": ["reader"]}}}},
        {"singleuser": {"extraPodConfig": {"priority_class_name": "low"}, "extraEnv": {"A": "b"}}},
    ],
)
def test_values_that_decide_nothing_of_the_stacks_are_taken(values: dict[str, Any]):
    assert mistakes(**MEMORY, values=values) == {}


@pytest.mark.parametrize("key", DECIDED)
def test_whatever_an_argument_decides_is_refused_among_the_values_and_the_argument_named(key: str):
    assert mistakes(values=nested(key)) == {f"values.{key}": f"it cannot be set here: {DECIDED[key]}"}


OTHER: dict[str, dict[str, Any]] = {
    "access": {"access": "open", "openToTheWorld": True},
    "chartImages": {"chartImages": dict.fromkeys(CHART_IMAGES, "mirror.example.org/a:1")},
    "cullUsers": {"cullUsers": True},
    "databaseSize": {"databaseSize": "2G"},
    "dataProtection": {"dataProtection": False},
    "egressDomains": DOMAINS,
    "egressProfile": {"egressProfile": EgressProfile.CLOSED},
    "extraImages": {"extraImages": ["a/b:1"]},
    "fleetQuota": {"fleetQuota": {"servers": 7}},
    "image": {"image": "a/b:1"},
    "imagePullSecrets": {"imagePullSecrets": ["registry"]},
    "apiServerPorts": {"apiServerPorts": [16443]},
    "nodeSelector": {"nodeSelector": {"pool": "visitors"}},
    "shared": SHARED,
    "userQuota": {
        "userQuota": {"cpu": 3, "memory": "3G", "home": "3G", "tmp": "1G", "idle": 120, "maxAge": 90000},
    },
    "userScheduler": {"userScheduler": True},
    **{
        f"front {kind}": {"domain": "a.example.org", "front": {"kind": kind, **more}}
        for kind, more in {
            "gateway": {"gateway": "g"},
            "ingress": {"ingressClass": "c"},
            "letsencrypt": {"email": "a@b.c"},
            "offload": {},
            "secret": {"tlsSecret": "t"},
        }.items()
    },
}
"""Arguments that differ from those that a hub has by itself."""


@pytest.mark.parametrize("argument", OTHER)
def test_every_value_that_another_argument_changes_is_one_that_arguments_decide(argument: str):
    usual, other = dict(leaves(chart_values_of())), dict(leaves(chart_values_of(**OTHER[argument])))
    changed = {path for path in usual.keys() | other.keys() if usual.get(path) != other.get(path)}

    assert changed, "the argument changes nothing"
    assert {path for path in changed if f"values.{path}" not in mistakes(values=nested(path))} == set()


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_refused_by_its_argument_and_with_what_to_do(what: str):
    args, path, reason = WRONG[what]
    found = mistakes(**args)

    assert reason in found.pop(path), what
    assert found == {}, what


def test_every_mistake_is_listed_at_once():
    args = {"image": "jupyter/base", "password": "short", "userQuota": {"memory": "2Gi"}, "shared": {"share": "/h"}}

    assert set(mistakes("n" * 54, **args)) == {"name", "image", "password", "userQuota.memory", "shared.server"}
    with pytest.raises(pulumi.InputPropertiesError) as caught:
        build(**args)
    assert len(caught.value.errors or []) == 4


def test_mistakes_in_a_stacks_configuration_are_told_by_its_keys():
    raw = {
        "hubstack:topology": "ephemeral",
        "hubstack:notebookImage": "jupyter/base",
        "hubstack:users": '["ada"]',
        "hubstack:ephemeral": json.dumps({"access": "open", "front": {"kind": "ingress"}, "timeout": 5}),
    }
    with pytest.raises(pulumi.RunError) as caught:
        parse_settings(raw)
    told = str(caught.value)

    assert "5 mistake(s)" in told
    for key in ("notebookImage", "users", "ephemeral.access", "ephemeral.timeout", "domain"):
        assert f"hubstack:{key}: " in told, key


def test_unknown_and_missing_keys_below_ephemeral_are_told_where_they_are():
    given = {"acces": "open", "shared": {"share": "/h", "sever": "a"}, "contentLinks": [{"name": "a", "repo": "b"}]}
    with pytest.raises(pulumi.RunError) as caught:
        parse_settings({"hubstack:topology": "ephemeral", "hubstack:ephemeral": json.dumps(given)})
    told = str(caught.value)

    assert "hubstack:ephemeral.acces: there is no such key; did you mean access?" in told
    assert "hubstack:ephemeral.shared.sever: there is no such key; did you mean server?" in told
    assert "hubstack:ephemeral.shared.server: Field required" in told
    assert "hubstack:ephemeral.contentLinks.0.repository: Field required" in told
