"""Stack configuration: what is accepted, and mistakes that are all listed at once."""

import json
from pathlib import Path

import pulumi
import pytest
import yaml

from components.kubernetes.platform_arguments import NotebookPlatformArgs
from components.settings import StackSettings, parse_settings
from components.settings.platform import PlatformSettings
from components.settings.users import parse_user_lines

ROOT = Path(__file__).parents[2]
USERS = {"hubstack:users": json.dumps(["root admin", "ada"])}


def mistakes(raw: dict[str, str], **options: object) -> str:
    with pytest.raises(pulumi.RunError) as caught:
        parse_settings(raw, **options)  # pyright: ignore[reportArgumentType]
    return str(caught.value)


def test_user_lines_are_read_as_the_seed_writes_them():
    users = parse_user_lines(["root admin", "", "# a comment", "ada  # our first user"])

    assert users == [{"name": "root", "admin": True}, {"name": "ada", "admin": False}]


def test_a_bad_user_line_is_named_by_its_number():
    told = mistakes({"hubstack:users": json.dumps(["ada", "Bob!", "eve root"])})

    assert "line 2: 'Bob!'" in told
    assert "line 3: 'root' after the name; only 'admin' may follow" in told


def test_an_unknown_key_gets_a_suggestion():
    told = mistakes({**USERS, "hubstack:egresProfile": "open", "hubstack:userQuota": '{"memry": "1G"}'})

    assert "did you mean hubstack:egressProfile?" in told
    assert "hubstack:userQuota.memry: there is no such key; did you mean memory?" in told


def test_every_mistake_is_listed_at_once():
    told = mistakes(
        {
            **USERS,
            "hubstack:port": "70000",
            "hubstack:addressPool": "10.0.0.0/30",
            "hubstack:fleetQuota": '{"servers": 0}',
        }
    )

    assert "3 mistake(s)" in told
    assert "hubstack:port: 70000" in told
    assert "hubstack:addressPool: 10.0.0.0/30 is too small" in told
    assert "hubstack:fleetQuota.servers: 0" in told


def test_a_wrong_type_names_the_key_and_what_was_given():
    assert "hubstack:port: Input should be a valid integer" in mistakes({**USERS, "hubstack:port": "many"})


def test_a_password_in_plain_text_is_refused_and_not_repeated():
    told = mistakes({**USERS, "hubstack:password": "correct horse"})

    assert "pulumi config set --secret hubstack:password" in told
    assert "correct horse" not in told


def test_keys_of_other_namespaces_are_left_alone():
    assert parse_settings({**USERS, "aws:region": "eu-west-1"}).port == 8443


def test_nobody_on_the_user_list_is_a_mistake():
    assert "nobody could log in" in mistakes({})


def test_pulumi_yaml_declares_every_key_with_the_default_that_the_code_has():
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert set(declared) == set(StackSettings.model_fields)
    assert all(entry["description"] for entry in declared.values())

    raw = {
        f"hubstack:{key}": entry["default"] if isinstance(entry["default"], str) else json.dumps(entry["default"])
        for key, entry in declared.items()
    }
    assert parse_settings({**raw, **USERS}) == parse_settings(USERS)


@pytest.mark.parametrize("stack", ["dev", "ec2hub", "prod"])
def test_the_stacks_that_the_project_ships_are_accepted(stack: str):
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]

    raw = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    users = parse_settings(raw).users

    assert [(user.name, user.admin) for user in users] == [
        (line.split()[0], line.split()[1:] == ["admin"]) for line in config["hubstack:users"]
    ]
    assert any(user.admin for user in users)


PLATFORM = {
    "hubstack:topology": "platform",
    "hubstack:domain": "nb.example.org",
    "hubstack:notebookImage": "notebook:1.0",
    "hubstack:platform": json.dumps(
        {"operatorImage": "operator:1.0", "gateway": "notebooks", "gatewayNamespace": "gateway-system"}
    ),
}


EPHEMERAL = {
    "hubstack:topology": "ephemeral",
    "hubstack:domain": "try.example.org",
    "hubstack:notebookImage": "notebook:1.0",
    "hubstack:ephemeral": json.dumps({"egressProxyImage": "proxy:1.0", "nodes": 1}),
}


def test_the_platform_that_the_project_ships_is_accepted_with_its_notebooks():
    config = yaml.safe_load((ROOT / "Pulumi.platform.yaml").read_text())["config"]
    raw = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}

    args = parse_settings(raw).notebook_platform()

    assert args.get("notebooks") == [{"user": "ada@example.org", "name": "training"}]
    assert args.get("route") == {
        "kind": "HTTPRoute",
        "gateway": "notebooks",
        "gatewayNamespace": "gateway-system",
        "listener": "https",
    }
    assert args.get("egressDomains") == ["pypi.org", "files.pythonhosted.org"]
    assert args.get("dataProtection") is True


def test_every_argument_of_a_platform_has_a_key_in_the_stacks_file():
    given = set(parse_settings(PLATFORM).notebook_platform()) | set(PlatformSettings.model_fields)

    assert set(NotebookPlatformArgs.__annotations__) - given == set()


def test_a_platforms_mistakes_are_named_by_the_keys_of_the_stacks_file():
    told = mistakes(
        {
            **PLATFORM,
            "hubstack:notebookImage": "notebook",
            "hubstack:platform": json.dumps(
                {"operatorImage": "operator", "route": "HTTPRoute", "gatewayNamespace": "x", "notebooks": ["ada 1st"]}
            ),
        }
    )

    assert "4 mistake(s)" in told
    assert "hubstack:notebookImage: notebook has no tag" in told
    assert "hubstack:platform.operatorImage: operator has no tag" in told
    assert "hubstack:platform.gateway: a route of kind HTTPRoute needs the name of the Gateway" in told
    assert "hubstack:platform.notebooks[0].name: '1st' is no notebook's name" in told


@pytest.mark.parametrize(
    ("configuration", "mistake"),
    [
        (PLATFORM, "the stack's name: 'hubstack-My_Stack' names a namespace"),
        (EPHEMERAL, "hubstack:ephemeral.namespace: 'hubstack-My_Stack' is no name of a namespace"),
    ],
    ids=["platform", "ephemeral"],
)
def test_a_stacks_name_that_cannot_name_a_namespace_is_listed_with_the_other_mistakes(
    configuration: dict[str, str], mistake: str
):
    told = mistakes({**configuration, "hubstack:notebookImage": "notebook"}, stack="My_Stack")

    assert mistake in told
    assert "hubstack:notebookImage: notebook has no" in told
    assert "2 mistake(s)" in told


def test_an_unknown_way_of_a_route_is_named_by_its_key():
    told = mistakes({**PLATFORM, "hubstack:platform": json.dumps({"operatorImage": "o:1", "route": "Ingress"})})

    assert "hubstack:platform.route: 'Ingress' is not known" in told


def test_a_bad_line_of_notebooks_is_named_by_its_number():
    told = mistakes({**PLATFORM, "hubstack:platform": json.dumps({"notebooks": ["ada one", "", "# no", "bob"]})})

    assert "hubstack:platform.notebooks: line 4: 'bob' is not a user, a name and perhaps an image" in told


def test_an_unknown_key_of_the_platform_gets_a_suggestion():
    told = mistakes({**PLATFORM, "hubstack:platform": json.dumps({"gatway": "x"})})

    assert "hubstack:platform.gatway: there is no such key; did you mean gateway?" in told


def test_the_hub_for_visitors_that_the_project_ships_is_accepted():
    config = yaml.safe_load((ROOT / "Pulumi.ephemeral.yaml").read_text())["config"]

    args = parse_settings({k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}).ephemeral_hub()

    assert args.get("front") == {"kind": "letsencrypt", "email": "owner@example.org"}
    assert args["image"] == config["hubstack:notebookImage"]
    assert args.get("fleetQuota") == {"servers": 50}


def test_the_readmes_table_is_the_one_that_pulumi_yaml_describes():
    from toolchain.configuration_table import configuration_table

    assert configuration_table() in (ROOT / "README.md").read_text()
