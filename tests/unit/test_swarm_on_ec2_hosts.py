"""A swarm's managers and workers on EC2: where they stand, their disks and metadata, and how they boot."""

import base64

import pytest

from components.aws.swarm_bundle import node_user_data
from components.aws.swarm_plan import ENGINE_NETWORKS
from runtime.boot_script import USER_DATA_LIMIT
from runtime.swarm_node.settings import NodeRole, parse_node
from tests.unit.recording import Recorder
from tests.unit.swarm_on_ec2 import INSTANCE, TEMPLATE, build, node_document, of_type, user_data, usual

__all__ = ["usual"]

GROUP = "aws:autoscaling/group:Group"
HOOK = "aws:autoscaling/lifecycleHook:LifecycleHook"


@pytest.mark.parametrize(("managers", "zones"), [(3, 3), (5, 3), (1, 2), (7, 3)])
def test_managers_stand_in_private_subnets_as_evenly_as_they_can(managers: int, zones: int):
    recorder = build(ec2={"managers": managers, "zones": zones})
    places = [host.properties["subnetId"] for host in of_type(recorder, INSTANCE).values()]
    counts = {place: places.count(place) for place in places}

    assert len(places) == managers
    assert all(place.endswith("-private-id") for place in places)
    assert len(counts) == min(managers, zones)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_no_host_has_a_public_address_a_key_or_an_unencrypted_disk(usual: Recorder):
    [template] = of_type(usual, TEMPLATE).values()
    managers = of_type(usual, INSTANCE).values()

    assert not any(s.properties["mapPublicIpOnLaunch"] for s in of_type(usual, "aws:ec2/subnet:Subnet").values())
    for host in (template, *managers):
        assert not {"associatePublicIpAddress", "networkInterfaces", "keyName"} & set(host.properties)
    assert all(manager.properties["rootBlockDevice"]["encrypted"] is True for manager in managers)
    assert [d["ebs"]["encrypted"] for d in template.properties["blockDeviceMappings"]] == ["true"]


def test_metadata_needs_a_token_and_ends_at_the_host(usual: Recorder):
    for host in (*of_type(usual, INSTANCE).values(), *of_type(usual, TEMPLATE).values()):
        assert host.properties["metadataOptions"]["httpTokens"] == "required"
        assert host.properties["metadataOptions"]["httpPutResponseHopLimit"] == 1


def test_managers_are_not_replaced_by_a_newer_image_or_another_boot_script(usual: Recorder):
    """Replaced together they would take the swarm with them."""
    assert [m.ignore_changes for m in of_type(usual, INSTANCE).values()] == [["ami", "userDataBase64"]] * 3
    assert [t.ignore_changes for t in of_type(usual, TEMPLATE).values()] == [[]], "workers come and go"


def test_a_value_cannot_leave_its_place_in_the_boot_script():
    script = base64.b64decode(
        node_user_data({"stack": "it's; $(reboot)"}, bundle="s3://b/k", file_system="", region="us-east-1", images=[])
    ).decode()

    assert node_document(script) == {"stack": "it's; $(reboot)"}


def test_only_the_first_manager_founds_the_swarm(usual: Recorder):
    nodes = {name: parse_node(node_document(script)) for name, script in user_data(usual).items()}

    assert [name for name, node in nodes.items() if node.founder] == ["lab-manager-1"]
    assert [name for name, node in nodes.items() if node.role is NodeRole.WORKER] == ["lab-worker"]
    assert all(node.stack == "lab" for node in nodes.values())


def test_the_worker_group_has_a_fixed_size_a_hook_and_its_templates_latest_version():
    recorder = build(
        {"aws:ec2/getInstanceType:getInstanceType": lambda _: {"defaultVcpus": 2, "memorySize": 65536}},
        ec2={"workers": 4},
    )
    [group] = of_type(recorder, GROUP).values()
    [hook] = of_type(recorder, HOOK).values()
    [template] = of_type(recorder, TEMPLATE).values()
    worker = parse_node(node_document(user_data(recorder)["lab-worker"]))

    assert {group.properties[key] for key in ("minSize", "maxSize", "desiredCapacity")} == {4}
    assert group.properties["launchTemplate"]["id"] == f"{template.name}-id"
    assert group.properties["launchTemplate"]["version"] not in {"$Default", "1"}
    assert len(group.properties["vpcZoneIdentifiers"]) == 3
    assert all(subnet.endswith("-private-id") for subnet in group.properties["vpcZoneIdentifiers"])
    assert hook.properties["lifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert hook.properties["autoscalingGroupName"] == group.properties["name"] == worker.group
    assert hook.properties["name"] == worker.lifecycle_hook
    assert hook.properties["defaultResult"] == "CONTINUE", "a host that hangs is ended too"


def test_the_engines_own_networks_are_those_that_hosts_are_told(usual: Recorder):
    for script in user_data(usual).values():
        assert f'"base": "{ENGINE_NETWORKS}"' in script


def test_user_data_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the user data has"):
        node_user_data({"stack": "x" * USER_DATA_LIMIT}, bundle="b", file_system="", region="r", images=[])
