"""The graph that SwarmCluster registers for hosts on EC2: what it is made of, its front, and what outlives it."""

import json

from components import SwarmCluster
from components.aws.file_system import over_tls_alone
from tests.unit.recording import Recorder
from tests.unit.swarm_on_ec2 import build, of_type, usual

__all__ = ["usual"]

COMPONENT = "hubstack:index:SwarmCluster"
FILE_SYSTEM = "aws:efs/fileSystem:FileSystem"


def test_every_resource_is_a_child_of_the_component(usual: Recorder):
    [component] = [r for r in usual.registrations if r.type == COMPONENT]
    children = [r for r in usual.registrations if r is not component and "Stack" not in r.type]

    assert len(children) > 60
    assert [r.urn for r in children if r.parent != component.urn] == []


def test_nothing_is_made_on_an_engine(usual: Recorder):
    assert [r.type for r in usual.registrations if r.type.startswith("docker:")] == []


def test_the_registered_outputs_are_the_annotated_ones(usual: Recorder):
    [component] = [r for r in usual.registrations if r.type == COMPONENT]

    assert usual.outputs[component.urn] == sorted(SwarmCluster.__annotations__)


def test_the_graph_is_the_same_every_time(usual: Recorder):
    def shape(recorder: Recorder) -> list[tuple[str, str, str]]:
        return sorted(
            (r.type, r.name, json.dumps(r.properties, sort_keys=True))
            for r in recorder.registrations
            if "Stack" not in r.type
        )

    assert shape(build()) == shape(usual)


def test_the_file_system_is_encrypted_guarded_backed_up_and_kept(usual: Recorder):
    [files] = of_type(usual, FILE_SYSTEM).values()
    [policy] = of_type(usual, "aws:efs/fileSystemPolicy:FileSystemPolicy").values()
    [backup] = of_type(usual, "aws:efs/backupPolicy:BackupPolicy").values()

    assert files.properties["encrypted"] is True
    assert backup.properties["backupPolicy"]["status"] == "ENABLED"
    assert policy.properties["policy"] == over_tls_alone("arn:aws:service:us-east-1:123456789012:lab-files")
    assert files.retain_on_delete
    assert policy.retain_on_delete, "what is kept stays guarded"
    assert backup.retain_on_delete


def test_the_file_system_goes_with_a_stack_that_says_so():
    kinds = (FILE_SYSTEM, "aws:efs/fileSystemPolicy:FileSystemPolicy", "aws:efs/backupPolicy:BackupPolicy")
    recorder = build(dataProtection=False, confirmDataLoss="hub.example.org")

    assert [r.name for r in recorder.registrations if r.retain_on_delete] == []
    assert all(of_type(recorder, kind) for kind in kinds)


def test_nothing_but_what_people_made_outlives_the_stack(usual: Recorder):
    assert {r.type.split(":")[-1] for r in usual.registrations if r.retain_on_delete} == {
        "FileSystem",
        "FileSystemPolicy",
        "BackupPolicy",
    }


def test_the_front_speaks_tls_to_users_and_to_managers(usual: Recorder):
    listeners = {r.properties["port"]: r.properties for r in of_type(usual, "aws:lb/listener:Listener").values()}
    [targets] = of_type(usual, "aws:lb/targetGroup:TargetGroup").values()
    [balancer] = of_type(usual, "aws:lb/loadBalancer:LoadBalancer").values()
    attached = of_type(usual, "aws:lb/targetGroupAttachment:TargetGroupAttachment").values()

    assert set(listeners) == {80, 443}
    assert listeners[443]["protocol"] == "HTTPS"
    assert "TLS13" in listeners[443]["sslPolicy"]
    assert [action["type"] for action in listeners[80]["defaultActions"]] == ["redirect"]
    assert listeners[80]["defaultActions"][0]["redirect"]["protocol"] == "HTTPS"
    assert targets.properties["protocol"] == "HTTPS"
    assert balancer.properties["securityGroups"] == ["lab-front-id"]
    assert all(subnet.endswith("-public-id") for subnet in balancer.properties["subnets"])
    assert {a.properties["targetId"] for a in attached} == {f"lab-manager-{n}-id" for n in (1, 2, 3)}


def test_the_file_system_refuses_plain_transport_to_everybody():
    statements = json.loads(over_tls_alone("arn:fs"))["Statement"]
    [refused] = [s for s in statements if s["Effect"] == "Deny"]
    [allowed] = [s for s in statements if s["Effect"] == "Allow"]

    assert refused == {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": ["*"],
        "Resource": ["arn:fs"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    assert allowed["Condition"] == {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}}
    assert all(action.startswith("elasticfilesystem:Client") for action in allowed["Action"])
