"""What hosts of a swarm on EC2 fetch: the bundle, its settings and the stack file in it."""

import json
import re
from pathlib import Path
from typing import Any

from runtime.hub import settings as hub_settings
from runtime.swarm_node.settings import NodeRole, parse_deployment
from tests.unit.bundles import printed_beside_nothing
from tests.unit.recording import Recorder
from tests.unit.swarm_on_ec2 import GITHUB, HUB_IMAGE, NOTEBOOK_IMAGE, build, bundled, stack_file, usual

__all__ = ["usual"]


def test_every_image_in_the_stack_file_is_pinned_by_digest(usual: Recorder):
    images = {name: service["image"] for name, service in stack_file(usual)["services"].items()}

    assert images == {
        "hub": HUB_IMAGE,
        "proxy": HUB_IMAGE,
        "tls-proxy": HUB_IMAGE,
        "pre-puller": NOTEBOOK_IMAGE,
    }
    assert all(re.fullmatch(r".+@sha256:[0-9a-f]{64}", image) for image in images.values())


def test_the_bundle_holds_what_the_hosts_run_and_settings_that_they_understand():
    recorder = build(userQuota={"memory": "3G", "home": "5G"}, fleetQuota={"servers": 7})
    files = bundled(recorder)
    deployment = parse_deployment(json.loads(files["deployment.json"]))
    environment = stack_file(recorder)["services"]["hub"]["environment"]
    hub = hub_settings.parse_settings(json.loads(files["hub-settings.json"]), environment)

    assert {"runtime/swarm_node/__main__.py", "runtime/home_volumes/plugin.py", "runtime/open_network.py"} <= set(files)
    assert "Caddyfile" in files
    assert deployment.images == {NodeRole.MANAGER: (HUB_IMAGE,), NodeRole.WORKER: (HUB_IMAGE, NOTEBOOK_IMAGE)}
    assert deployment.open_subnet == ""
    assert hub.image == NOTEBOOK_IMAGE
    assert hub.home_driver == deployment.home_driver
    assert hub.quota.home_bytes == deployment.home_bytes == 5 * 2**30
    assert (hub.quota.memory_bytes, hub.servers) == (3 * 2**30, 7)
    assert hub.nodes.constraints == ("node.role==worker",)
    assert hub.nodes.reserve_memory
    assert hub.nodes.encrypted
    assert (hub.hub_service, hub.proxy_service) == ("lab_hub", "lab_proxy")


def test_the_hub_keeps_its_database_where_hosts_prepare_the_folder(usual: Recorder):
    deployment = parse_deployment(json.loads(bundled(usual)["deployment.json"]))
    [data] = [v for v in stack_file(usual)["services"]["hub"]["volumes"] if v["target"] == "/srv/hub"]

    assert data["source"] == deployment.hub_data
    assert deployment.hub_data.startswith("/srv/hubstack/")
    assert deployment.home_pool.startswith("/srv/hubstack/")


def test_the_stack_file_names_no_file_that_the_bundle_lacks(usual: Recorder):
    files = bundled(usual)

    for config in stack_file(usual)["configs"].values():
        assert config["file"].removeprefix("./") in files


def test_the_bundle_needs_nothing_of_the_project_beside_it(usual: Recorder, tmp_path: Path):
    for name, text in bundled(usual).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    told = printed_beside_nothing(tmp_path, "import runtime.swarm_node.__main__ as m; print(m.__file__)")

    assert told.startswith(str(tmp_path))


def test_an_oauth_login_gives_the_hub_alone_the_way_out_and_the_secret(usual: Recorder):
    before, after = stack_file(usual)["services"], stack_file(build(login=GITHUB))["services"]

    def with_network(services: dict[str, Any]) -> set[str]:
        return {name for name, service in services.items() if "front" in service["networks"]}

    def with_secret(services: dict[str, Any]) -> set[str]:
        return {
            name for name, service in services.items() if "client-secret" in {s["source"] for s in service["secrets"]}
        }

    assert with_network(before) == {"tls-proxy"}
    assert with_secret(before) == set()
    assert with_network(after) == {"tls-proxy", "hub"}
    assert with_secret(after) == {"hub"}


def test_the_hubs_rights_on_the_engine_are_the_hubs_alone(usual: Recorder):
    services = stack_file(usual)["services"]

    assert [name for name, service in services.items() if "docker.sock" in json.dumps(service)] == ["hub"]
    assert [name for name, service in services.items() if "ports" in service] == ["tls-proxy"]
    assert all(service["cap_drop"] == ["ALL"] for service in services.values())
    assert all(service["read_only"] is True for service in services.values())


def test_networks_of_the_stack_file_are_internal_but_the_front_and_encrypted_where_secrets_travel(usual: Recorder):
    networks = stack_file(usual)["networks"]

    assert {name for name, network in networks.items() if not network["internal"]} == {"front"}
    assert {name for name, network in networks.items() if network["driver_opts"].get("encrypted") == "true"} == {
        "control",
        "edge",
    }


def test_encryption_between_hosts_is_left_to_the_hosts_by_choice():
    recorder = build(ec2={"encrypted": False})
    settings = json.loads(bundled(recorder)["hub-settings.json"])

    assert not any(network.get("driver_opts") for network in stack_file(recorder)["networks"].values())
    assert settings["nodes"]["encrypted"] is False
