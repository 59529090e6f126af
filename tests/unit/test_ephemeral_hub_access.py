"""Who gets into an EphemeralHub, and where its password and its tokens are."""

import json
from collections.abc import Iterator, Mapping

import pulumi
import pytest

from components import EphemeralHub
from components.kubernetes.hub_chart import Access
from tests.unit.ephemeral_hub import ARGS, EVERYTHING, PASSWORD, build, of_type, release, values
from tests.unit.recording import record

SECRET = "4dabf18193072939515e22adb298388d"
"""Key of an envelope that holds a secret, on its way to the engine."""


def plain_texts(part: object) -> Iterator[str]:
    """Every text that is in no envelope of a secret."""
    if isinstance(part, Mapping):
        if SECRET not in part:
            for key, value in part.items():
                yield str(key)
                yield from plain_texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from plain_texts(value)
    else:
        yield str(part)


def test_the_password_and_the_tokens_are_in_envelopes_of_secrets_alone():
    recorder = build(**EVERYTHING)
    secrets = (PASSWORD, "ab" * 32)

    for registration in recorder.registrations:
        if registration.type.startswith("random:"):
            continue
        leaked = [text for text in plain_texts(registration.properties) for secret in secrets if secret in text]
        assert leaked == [], registration.name
    assert PASSWORD in json.dumps(of_type(recorder, "kubernetes:core/v1:Secret")["lab-access"].properties)


def test_the_password_goes_by_a_secret_of_its_own_and_not_by_the_charts_values():
    recorder = build(password=PASSWORD)
    given = release(recorder).properties["values"]

    assert PASSWORD not in json.dumps(given)
    assert given["hub"]["existingSecret"] == "hub-access"
    [secret] = of_type(recorder, "kubernetes:core/v1:Secret").values()
    told = json.loads(secret.properties["stringData"]["value"]["values.yaml"])
    assert told == {"hub": {"config": {"SharedPasswordAuthenticator": {"user_password": PASSWORD}}}}


def test_another_password_restarts_the_hub_and_its_mark_tells_nothing_of_it():
    import hashlib

    def mark(password: str) -> str:
        annotations = release(build(password=password)).properties["values"]["hub"]["annotations"]
        return annotations["hubstack.io/password"]["value"]

    assert mark(PASSWORD) == mark(PASSWORD)
    assert mark(PASSWORD) != mark(f"{PASSWORD}!")
    assert mark(PASSWORD) != hashlib.sha256(PASSWORD.encode()).hexdigest()


def test_what_the_hub_must_keep_is_random_once_and_kept_in_the_state():
    recorder = build()
    tokens = of_type(recorder, "random:index/randomBytes:RandomBytes")
    hub = release(recorder).properties["values"]["hub"]

    assert sorted(tokens) == ["lab-cookie-secret", "lab-crypt-key", "lab-proxy-token"]
    assert hub["cookieSecret"]["value"] == "ab" * 32
    assert hub["config"]["ConfigurableHTTPProxy"]["auth_token"]["value"] == "ab" * 32
    assert [key["value"] for key in hub["config"]["CryptKeeper"]["keys"]] == ["ab" * 32]
    assert list(of_type(recorder, "random:index/randomPassword:RandomPassword")) == ["lab-password"]


def test_a_password_that_is_not_known_yet_is_checked_when_it_is():
    def short() -> None:
        EphemeralHub("lab", {**ARGS, "password": pulumi.Output.secret("short")})

    with pytest.raises(pulumi.RunError, match="it has 5 characters; at least 8") as caught:
        record(short)
    assert "short" not in str(caught.value)


def test_an_open_hub_has_no_password_and_makes_users_by_itself():
    recorder = build(access=Access.OPEN, openToTheWorld=True)
    hub = release(recorder).properties["values"]["hub"]

    assert of_type(recorder, "kubernetes:core/v1:Secret") == {}
    assert of_type(recorder, "random:index/randomPassword:RandomPassword") == {}
    assert "existingSecret" not in hub
    assert hub["config"]["JupyterHub"]["authenticator_class"] == "tmp"
    assert "10-visitors" not in hub["extraConfig"]


@pytest.mark.parametrize("access", Access)
def test_everybody_whom_the_access_lets_in_is_let_in_and_nobody_is_an_administrator(access: Access):
    hub = values(access=access)["hub"]

    assert hub["config"]["Authenticator"] == {"allow_all": True, "enable_auth_state": False, "admin_users": []}
    assert hub["config"]["JupyterHub"]["admin_access"] is False
    assert ("VisitorAuthenticator" in json.dumps(hub["extraConfig"])) == (access is Access.PASSWORD)


def test_a_visitor_who_comes_back_after_the_greatest_age_is_somebody_new():
    config = values(userQuota={"maxAge": 82800})["hub"]["config"]

    assert config["JupyterHub"]["cookie_max_age_days"] == 1.0
