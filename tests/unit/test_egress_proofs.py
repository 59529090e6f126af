"""When the proof that users are cut off is made anew: a changed Job is a new one, which runs."""

import asyncio
import hashlib
import hmac
import json
import shutil
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime.rpc import UNKNOWN

from components import EgressProfile, EphemeralHub, NotebookPlatform
from components.kubernetes.hub_proof import hub_proof
from components.kubernetes.probe import EgressProbe, proof_digest
from tests.unit import ephemeral_hub as hub
from tests.unit import test_notebook_platform as platform
from tests.unit.recording import Recorder, record

JOB = "kubernetes:batch/v1:Job"
PROVES = "hubstack.io/proves"
STAND_IN = Path(__file__).parents[1] / "engine" / "stand_in_chart"
COOKIE_SECRET = "ab" * 32


def job(recorder: Recorder) -> Any:
    [found] = [r.properties for r in recorder.registrations if r.type == JOB]
    return found


def title(recorder: Recorder) -> str:
    return job(recorder)["metadata"]["name"]


def proves(recorder: Recorder) -> str:
    return job(recorder)["spec"]["template"]["metadata"]["annotations"][PROVES]


def of_hub(**args: object) -> Recorder:
    return hub.build(**{**hub.DOMAINS, **args})


def of_platform(**args: object) -> Recorder:
    given = {**platform.ARGS, "egressDomains": ["pypi.org"], "egressProxyImage": "a/proxy:1", **args}
    return record(lambda: NotebookPlatform("lab", given))  # pyright: ignore[reportArgumentType]


HUB_CHANGES: dict[str, dict[str, Any]] = {
    "another chart": {"chartVersion": "4.3.0"},
    "another repository": {"chartRepository": "https://mirror.example.org"},
    "another domain": {"egressDomains": ["github.com", "pypi.org"]},
    "another excluded range": {"egressExcluded": ["203.0.113.0/24"]},
    "another proxy": {"egressProxyImage": "registry.example.org/egress-proxy:2"},
    "another port of the API": {"apiServerPorts": [16443]},
    "another scheduler": {"userScheduler": True},
    "another label of users' pods": {"values": {"singleuser": {"extraLabels": {"team": "a"}}}},
    "another profile": {"egressProfile": EgressProfile.OPEN, "egressDomains": []},
}


@pytest.mark.parametrize("what", HUB_CHANGES)
def test_whatever_decides_what_a_hubs_users_reach_is_proved_anew(what: str):
    assert title(of_hub(**HUB_CHANGES[what])) != title(of_hub())


PLATFORM_CHANGES: dict[str, dict[str, Any]] = {
    "another operator": {"operatorImage": "registry.example.org/operator:2"},
    "another domain": {"egressDomains": ["github.com", "pypi.org"]},
    "another excluded range": {"egressExcluded": ["203.0.113.0/24"]},
    "another proxy": {"egressProxyImage": "a/proxy:2"},
    "another profile": {"egressProfile": EgressProfile.OPEN, "egressDomains": []},
}


@pytest.mark.parametrize("what", PLATFORM_CHANGES)
def test_whatever_decides_what_a_platforms_users_reach_is_proved_anew(what: str):
    assert title(of_platform(**PLATFORM_CHANGES[what])) != title(of_platform())


@pytest.mark.parametrize("build", [of_hub, of_platform])
def test_what_is_the_same_is_not_proved_again(build: Any):
    assert (title(build()), proves(build())) == (title(build()), proves(build()))


def test_another_password_needs_no_proof():
    assert title(of_hub(password="correct horse")) == title(of_hub(password="battery staple"))


def test_a_chart_on_this_machine_is_known_by_what_is_in_it(tmp_path: Path):
    chart = tmp_path / "chart"
    shutil.copytree(STAND_IN, chart)
    first = title(of_hub(chart=f"{chart}/"))

    assert title(of_hub(chart=f"{chart}/")) == first
    policies = chart / "templates" / "singleuser.yaml"
    policies.write_text(policies.read_text().replace("8081", "8082"))
    assert title(of_hub(chart=f"{chart}/")) != first


def test_the_mark_of_a_hub_is_keyed_so_that_nobody_can_try_secrets_in_its_values():
    def marked(secret: str) -> str:
        return proves(of_hub(values={"hub": {"config": {"OAuthenticator": {"client_secret": secret}}}}))

    assert marked("one") != marked("two"), "the values of the stack are in it"
    assert proof_digest({"a": "secret"}) == hashlib.sha256(b'{"a": "secret"}').hexdigest()
    keyed = hmac.new(COOKIE_SECRET.encode(), b'{"a": "secret"}', hashlib.sha256).hexdigest()
    assert proof_digest({"a": "secret"}, COOKIE_SECRET) == keyed
    args: Any = {**hub.ARGS, **hub.DOMAINS}
    assert proves(of_hub()) == proof_digest(hub_proof("lab", args), COOKIE_SECRET)


def test_a_secret_among_the_values_makes_a_secret_neither_of_the_job_nor_of_the_address():
    asked: list[asyncio.Future[bool]] = []
    values = {"hub": {"config": {"OAuthenticator": {"client_secret": "a secret"}}}}

    def program() -> None:
        secret = pulumi.Output.secret("a secret")
        given = {"hub": {"config": {"OAuthenticator": {"client_secret": secret}}}}
        made = EphemeralHub("lab", {**hub.ARGS, "values": given})
        asked.append(asyncio.ensure_future(made.url.is_secret()))

    recorder = record(program)

    assert proves(recorder) == proves(hub.build(values=values))
    assert "a secret" not in json.dumps(job(recorder))
    assert asked[0].result() is False


def test_policies_can_judge_the_pod_before_its_mark_is_known():
    def program() -> None:
        def told(value: Any) -> asyncio.Future[Any]:
            found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            found.set_result(value)
            return found

        # As in the first preview, where no secret of the stack has been made.
        unknown: pulumi.Output[str] = pulumi.Output(told(set()), told(None), told(False))
        EgressProbe(
            "lab",
            {
                "stack": "lab",
                "namespace": "lab",
                "image": "a/b:1",
                "podLabels": {},
                "egress": {"profile": EgressProfile.CLOSED, "domains": [], "ports": []},
                "required": [],
                "proves": unknown,
            },
        )

    found = job(record(program))

    assert found["metadata"]["name"] == found["spec"]["template"]["metadata"]["annotations"][PROVES] == UNKNOWN
    [container] = found["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "a/b:1"
