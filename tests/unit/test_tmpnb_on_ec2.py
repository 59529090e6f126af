"""The graph that TmpnbNodePool registers for hosts on EC2 and names in Route 53, what hosts fetch, and what it refuses."""

import base64
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components import EgressProfile, TmpnbNodePool
from components.aws.service_quotas import InstanceSize
from components.aws.tmpnb_bundle import host_user_data
from components.aws.tmpnb_plan import NodeHost, check_memory, quota_needs
from components.pool_checks import check_tmpnb_node_pool
from components.pool_plan import engine_shares
from components.settings import parse_settings
from runtime.boot_script import USER_DATA_LIMIT
from runtime.pool_host.settings import load_group, load_host
from tests.unit.bundles import printed_beside_nothing
from tests.unit.recording import Answer, Recorder, Registration, record
from toolchain.rehearsal import configuration, hosted_zone, merged

DIGEST = f"sha256:{'0' * 64}"
REPOSITORIES = "123456789012.dkr.ecr.us-east-1.amazonaws.com/hubstack"
ARGS: dict[str, Any] = {
    "nodes": [{"name": "tmp01"}, {"name": "tmp02"}],
    "capacity": 8,
    "domain": "tmp.example.org",
    "email": "owner@example.org",
    "nodeImage": f"{REPOSITORIES}/tmpnb-node@{DIGEST}",
    "redirectorImage": f"{REPOSITORIES}/redirector@{DIGEST}",
    "notebookImage": f"{REPOSITORIES}/notebook@{DIGEST}",
    "ec2": {"zone": "example.org"},
}
ELSEWHERE = {"name": "tmp03", "engine": "ssh://ops@203.0.113.7", "address": "203.0.113.7"}

INSTANCE = "aws:ec2/instance:Instance"
RECORD = "aws:route53/record:Record"
HEALTH_CHECK = "aws:route53/healthCheck:HealthCheck"
STORED = "aws:s3/bucketObjectv2:BucketObjectv2"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
SECRET_VERSION = "aws:secretsmanager/secretVersion:SecretVersion"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
ASSOCIATION = "aws:ec2/eipAssociation:EipAssociation"
FAREWELL = "pulumi-python:dynamic/aws:HostFarewell"
GROUP = "pulumi-python:dynamic/docker:ContainerGroup"
HOST = "hubstack:index:TmpnbHost"
SECRET_MARK = "4dabf18193072939515e22adb298388d"


def build(answers: Mapping[str, Answer] | None = None, **args: Any) -> Recorder:
    return record(lambda: TmpnbNodePool("pool", {**ARGS, **args}), answers)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def usual() -> Recorder:
    """The graph of two nodes and their redirector."""
    return build()


def of_type(recorder: Recorder, kind: str) -> dict[str, Registration]:
    return {r.name: r for r in recorder.registrations if r.type == kind}


def bundled(recorder: Recorder, name: str = "pool-tmp01") -> dict[str, bytes]:
    raw = base64.b64decode(of_type(recorder, STORED)[name].properties["contentBase64"])
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers()}


def group(recorder: Recorder, name: str = "pool-tmp01") -> dict[str, Any]:
    return json.loads(bundled(recorder, name)["group.json"])


def boot_script(recorder: Recorder, name: str = "pool-tmp01") -> str:
    return base64.b64decode(of_type(recorder, INSTANCE)[name].properties["userDataBase64"]).decode()


def mistakes(**args: Any) -> dict[str, str]:
    given: Any = {**ARGS, **args}
    return {error["property_path"]: error["reason"] for error in check_tmpnb_node_pool(given)}


def parts(recorder: Recorder, host: str) -> list[Registration]:
    [component] = [r for r in recorder.registrations if r.type == HOST and r.name == host]
    return [r for r in recorder.registrations if r.parent == component.urn]


def test_a_node_is_one_component_that_waits_for_no_other(usual: Recorder):
    assert set(of_type(usual, HOST)) == {"pool-tmp01", "pool-tmp02", "pool-redirector"}
    for host in ("pool-tmp01", "pool-tmp02"):
        others = {r.urn for other in of_type(usual, HOST) if other != host for r in parts(usual, other)}
        assert [r.urn for r in parts(usual, host) if others & set(r.dependencies)] == []
    assert of_type(usual, GROUP) == {}, "nothing is told to an engine from here"


def test_the_redirector_hears_of_a_node_when_its_name_is_there_and_waits_for_nothing_else_of_it(usual: Recorder):
    nodes = {r.urn for node in ("pool-tmp01", "pool-tmp02") for r in parts(usual, node)}
    names = {of_type(usual, RECORD)[node].urn for node in ("pool-tmp01", "pool-tmp02")}
    waits = {r.type: nodes & set(r.dependencies) for r in parts(usual, "pool-redirector")}

    assert waits.pop(STORED) == names
    assert set().union(*waits.values()) == set()


def test_a_line_more_is_a_host_more_and_changes_nothing_of_the_others(usual: Recorder):
    after = build(nodes=[{"name": "tmp03"}, *ARGS["nodes"]])

    def told(recorder: Recorder) -> dict[tuple[str, str], str]:
        made = (r for r in recorder.registrations if "Stack" not in r.type)
        return {(r.type, r.name): json.dumps(r.properties, sort_keys=True) for r in made}

    changed = {key for key, properties in told(usual).items() if told(after).get(key) != properties}
    made = {key for key in told(after) if key not in told(usual)}
    # The redirector's list of nodes is in what it fetches: its host stays.
    assert changed == {(STORED, "pool-redirector")}
    assert {name.removesuffix("-shell").removesuffix("-proxy-token") for _, name in made} == {"pool-tmp03"}


def test_every_host_has_a_name_that_is_forgotten_soon_and_asked_after_over_tls(usual: Recorder):
    names = {"tmp01.tmp.example.org", "tmp02.tmp.example.org", "tmp.example.org"}
    records = [r.properties for r in of_type(usual, RECORD).values()]
    checks = [r.properties for r in of_type(usual, HEALTH_CHECK).values()]

    assert {record["name"] for record in records} == {check["fqdn"] for check in checks} == names
    assert all(record["ttl"] <= 60 and record["zoneId"] == "Z123" for record in records)
    assert {(check["type"], check["port"], check["resourcePath"]) for check in checks} == {("HTTPS", 443, "/health")}


def test_every_host_has_an_address_that_stays_when_it_is_replaced(usual: Recorder):
    for name in of_type(usual, INSTANCE):
        given = of_type(usual, ASSOCIATION)[name].properties
        assert (given["instanceId"], given["allocationId"]) == (f"{name}-id", f"{name}-id")
    assert set(of_type(usual, ASSOCIATION)) == set(of_type(usual, INSTANCE)) == set(of_type(usual, "aws:ec2/eip:Eip"))


def test_certificates_are_each_hosts_own(usual: Recorder):
    for name, domain in (("pool-tmp01", "tmp01.tmp.example.org"), ("pool-redirector", "tmp.example.org")):
        assert f"\n{domain} {{" in group(usual, name)["spec"]["texts"]["Caddyfile"]
        ports = group(usual, name)["spec"]["containers"]["tls-proxy"]["ports"]
        assert sorted(port["published"] for port in ports) == [80, 443]


def test_metadata_needs_a_token_ends_at_the_host_and_nobody_has_a_key(usual: Recorder):
    for host in of_type(usual, INSTANCE).values():
        assert host.properties["metadataOptions"]["httpTokens"] == "required"
        assert host.properties["metadataOptions"]["httpPutResponseHopLimit"] == 1
        assert host.properties["rootBlockDevice"]["encrypted"] is True
        assert not {"keyName", "associatePublicIpAddress"} & set(host.properties)


def test_the_world_comes_in_for_visits_and_certificates_alone(usual: Recorder):
    into, out = (
        {
            (r.properties["cidrIpv4"], r.properties["fromPort"], r.properties["toPort"])
            for r in of_type(usual, kind).values()
        }
        for kind in (INGRESS, EGRESS)
    )

    assert into == out == {("0.0.0.0/0", 443, 443), ("0.0.0.0/0", 80, 80)}


def test_what_servers_may_reach_is_let_through_and_no_more():
    def beyond_the_web(**args: Any) -> set[tuple[str, str]]:
        rules = [r.properties for name, r in of_type(build(**args), EGRESS).items() if "-servers-" in name]
        return {(rule["cidrIpv4"], str(rule.get("fromPort"))) for rule in rules}

    opened = {cidr for cidr, _ in beyond_the_web(egressProfile=EgressProfile.OPEN)}
    assert "8.0.0.0/7" in opened
    assert not opened & {"0.0.0.0/0", "10.0.0.0/8", "169.254.0.0/16"}
    assert beyond_the_web(egressProfile=EgressProfile.PORTS, egressPorts=[443, 9418]) == {("0.0.0.0/0", "9418.0")}
    assert beyond_the_web() == set()


def test_a_redirector_on_ec2_gets_out_to_nodes_at_other_ports_and_to_no_other_host_there():
    def out(**args: Any) -> set[tuple[str, int]]:
        rules = [r.properties for r in of_type(build(**args), EGRESS).values()]
        return {(r["cidrIpv4"], int(r["fromPort"])) for r in rules} - {("0.0.0.0/0", 443), ("0.0.0.0/0", 80)}

    nodes = [*ARGS["nodes"], {**ELSEWHERE, "port": 8443}]
    assert out(nodes=nodes) == {("203.0.113.7/32", 8443)}
    assert out(nodes=nodes, engine="tcp://203.0.113.8:2376", address="203.0.113.8") == set()


def test_a_proxy_for_domains_is_pulled_by_digest_as_all_images_are():
    domains = {"egressProfile": EgressProfile.DOMAINS, "egressDomains": ["pypi.org"]}
    image = f"{REPOSITORIES}/egress-proxy@{DIGEST}"

    assert "egressProxyImage" in mistakes(**domains)
    assert image in group(build(**domains, egressProxyImage=image))["images"].values()


def test_no_host_is_reached_through_a_gateway_that_costs(usual: Recorder):
    assert [r.name for r in usual.registrations if "natGateway" in r.type] == []
    assert {h.properties["subnetId"] for h in of_type(usual, INSTANCE).values()} == {
        "pool-us-east-1a-public-id",
        "pool-us-east-1b-public-id",
    }


def test_no_secret_is_in_user_data_a_bundle_a_name_or_a_policy(usual: Recorder):
    open_text = json.dumps(
        [[r.name, r.properties] for r in usual.registrations if r.type.startswith("aws:") and r.type != SECRET_VERSION]
    )
    seen = open_text + "".join(map(str, bundled(usual).values())) + boot_script(usual)

    secrets: set[str] = set()
    for version in of_type(usual, SECRET_VERSION).values():
        assert SECRET_MARK in version.properties["secretString"]
        told = json.loads(version.properties["secretString"]["value"])
        assert sorted(told) == ["admin-token", "proxy-token"]
        secrets |= set(told.values())
    assert len(secrets) == 3, "one for administrators, and each node's own for its proxy"
    assert [secret for secret in secrets if secret in seen] == []
    assert set(of_type(usual, SECRET_VERSION)) == {"pool-tmp01", "pool-tmp02"}, "the redirector needs none"


def test_a_host_may_read_its_own_bundle_and_secret_and_pull_its_images(usual: Recorder):
    allowed = {
        name: {action: s["Resource"] for s in json.loads(r.properties["policy"])["Statement"] for action in s["Action"]}
        for name, r in of_type(usual, ROLE_POLICY).items()
        if name != "pool-flows"
    }
    arn, repository = "arn:aws:service:us-east-1:123456789012", "arn:aws:ecr:us-east-1:123456789012:repository/hubstack"

    assert allowed["pool-tmp01"]["s3:GetObject"] == [f"{arn}:pool-bundles/tmp01.tar.gz"]
    assert allowed["pool-tmp01"]["secretsmanager:GetSecretValue"] == [f"{arn}:pool-tmp01"]
    assert allowed["pool-tmp01"]["ecr:BatchGetImage"] == [f"{repository}/notebook", f"{repository}/tmpnb-node"]
    assert allowed["pool-redirector"]["ecr:BatchGetImage"] == [f"{repository}/redirector"]
    assert "secretsmanager:GetSecretValue" not in allowed["pool-redirector"]
    changing = {
        action for role in allowed.values() for action in role if not action.split(":")[1].startswith(("Get", "Batch"))
    }
    assert changing == set()


def test_what_a_host_runs_can_change_without_another_host(usual: Recorder):
    for host in of_type(usual, INSTANCE).values():
        assert host.ignore_changes == ["ami", "userDataBase64"]
    more = build(capacity=3, notebookImage=f"{REPOSITORIES}/notebook@sha256:{'1' * 64}")

    assert group(more) != group(usual)
    assert boot_script(more) == boot_script(usual)


def test_users_finish_before_anything_that_they_reach_their_node_by_goes(usual: Recorder):
    rules = {r.urn for kind in (INGRESS, EGRESS, "aws:ec2/route:Route") for r in of_type(usual, kind).values()}
    for node in ("pool-tmp01", "pool-tmp02"):
        farewell = of_type(usual, FAREWELL)[node]
        mine = {of_type(usual, kind)[node].urn for kind in (INSTANCE, ASSOCIATION, RECORD)}
        shell = of_type(usual, "aws:iam/rolePolicyAttachment:RolePolicyAttachment")[f"{node}-shell"].urn
        assert {*mine, shell, *rules} <= set(farewell.dependencies)
        assert farewell.properties["seconds"] == 600
    assert "pool-redirector" not in of_type(usual, FAREWELL), "nobody stays on it"


def test_users_whose_time_is_taken_away_keep_their_node_since_its_farewell_stays():
    farewells = of_type(build(drainSeconds=0), FAREWELL)

    assert {name: farewell.properties["seconds"] for name, farewell in farewells.items()} == {
        "pool-tmp01": 0,
        "pool-tmp02": 0,
    }


def test_another_instance_type_is_another_host_where_users_are_since_aws_would_stop_it_under_them(usual: Recorder):
    told = {name: host.replace_on_changes for name, host in of_type(usual, INSTANCE).items()}

    assert told == {"pool-tmp01": ["instanceType"], "pool-tmp02": ["instanceType"], "pool-redirector": []}


def test_user_data_fits_and_a_value_cannot_leave_its_place(usual: Recorder):
    for name in of_type(usual, INSTANCE):
        assert len(boot_script(usual, name).encode()) < USER_DATA_LIMIT
    script = base64.b64decode(host_user_data(bucket="b", key="it's; $(reboot)", secret="", region="r")).decode()
    values = script[: script.index("set -euo")]
    told = subprocess.run(["bash", "-c", f'{values}\nprintf "%s" "$KEY"'], capture_output=True, text=True, check=True)

    assert told.stdout == "it's; $(reboot)"


def test_the_bundle_needs_nothing_of_the_project_beside_it(usual: Recorder, tmp_path: Path):
    for name, content in bundled(usual).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "fetched.json").write_text('{"ETag": "1"}')
    script = boot_script(usual)
    values = script[: script.index("set -euo")]
    host = subprocess.run(["bash", "-c", f'{values}\nprintf "%s" "$HOST"'], capture_output=True, text=True, check=True)
    (tmp_path / "host.json").write_text(host.stdout)

    told = printed_beside_nothing(tmp_path, "import runtime.pool_host.__main__ as m; print(m.__file__)")

    assert told.startswith(str(tmp_path))
    assert load_host(tmp_path / "host.json").secret.endswith(":pool-tmp01")
    assert load_group(tmp_path).images == {"node": ARGS["nodeImage"], "notebook": ARGS["notebookImage"]}


def test_registries_of_ecr_renew_their_tokens(usual: Recorder):
    assert json.loads(bundled(usual)["registry.json"]) == {
        "credHelpers": {"123456789012.dkr.ecr.us-east-1.amazonaws.com": "ecr-login"}
    }


def test_nodes_of_all_kinds_are_in_one_pool():
    over_tcp = {"name": "tmp04", "engine": "tcp://203.0.113.8:2376", "address": "203.0.113.8"}
    here = {"name": "tmp05", "engine": "unix:///var/run/docker.sock", "address": "203.0.113.9"}
    engines = {f"pool-{node['name']}": node for node in (ELSEWHERE, over_tcp, here)}
    recorder = build(nodes=[*ARGS["nodes"], *engines.values()])

    assert set(of_type(recorder, HOST)) == {"pool-tmp01", "pool-tmp02", "pool-redirector"}
    told = {name: made.properties["engine"] for name, made in of_type(recorder, GROUP).items()}
    assert told == {name: node["engine"] for name, node in engines.items()}
    for name, node in engines.items():
        record = of_type(recorder, RECORD)[name].properties
        assert (record["name"], record["records"]) == (f"{node['name']}.tmp.example.org", [node["address"]])
        assert of_type(recorder, HEALTH_CHECK)[name].properties["fqdn"] == f"{node['name']}.tmp.example.org"
    listed = json.loads(group(recorder, "pool-redirector")["spec"]["texts"]["redirector.json"])["nodes"]
    assert [node["url"] for node in listed] == [f"https://tmp0{number}.tmp.example.org" for number in range(1, 6)]
    assert {"connect" in node for node in listed} == {False}, "each is asked by its name"


def test_a_pool_of_engines_alone_has_names_and_no_host():
    recorder = build(nodes=[{**ELSEWHERE, "port": 8443}], engine="tcp://203.0.113.8:2376", address="203.0.113.8")

    assert of_type(recorder, INSTANCE) == {}
    assert [r.name for r in recorder.registrations if "vpc" in r.type] == []
    assert set(of_type(recorder, RECORD)) == {"pool-tmp03", "pool-redirector"}
    assert of_type(recorder, HEALTH_CHECK)["pool-tmp03"].properties["port"] == 8443


def test_a_node_may_have_another_instance_type():
    recorder = build(nodes=[{"name": "tmp01"}, {"name": "tmp02", "instanceType": "m6i.large"}])
    kinds = {name: host.properties["instanceType"] for name, host in of_type(recorder, INSTANCE).items()}

    assert kinds == {"pool-tmp01": "m6i.2xlarge", "pool-tmp02": "m6i.large", "pool-redirector": "t3.small"}


def test_engines_of_hosts_that_are_not_there_yet_are_not_asked():
    shares = engine_shares("pool", {**ARGS, "nodes": [*ARGS["nodes"], ELSEWHERE]})  # pyright: ignore[reportArgumentType]

    assert [share.engine for share in shares] == ["ssh://ops@203.0.113.7"]


def test_every_mistake_is_listed_at_once():
    told = mistakes(
        domain="tmp.example.com",
        email="",
        nodes=[
            {"name": "tmp01", "port": 8443},
            {"name": "tmp02", "address": "203.0.113.9"},
            {"name": "tmp03", "engine": "ssh://ops@tmp03", "instanceType": "t3.small"},
            {"name": "tmp04", "engine": "ssh://ops@tmp04", "address": "tmp04"},
        ],
        nodeImage="",
        redirectorImage="",
        notebookImage="",
        ec2={"zone": "example.org", "cidr": "10.217.0.0/16", "workerType": "large", "image": "debian"},
    )

    assert set(told) == {
        *("domain", "email", "nodeImage", "redirectorImage", "notebookImage", "cidr", "workerType", "image"),
        *("nodes[0].port", "nodes[1].address", "nodes[2].address", "nodes[2].instanceType", "nodes[3].address"),
    }
    assert "not in the hosted zone 'example.org'" in told["domain"]
    assert "its record in example.org needs the IPv4 address" in told["nodes[2].address"]


def test_an_address_without_a_zone_is_a_mistake():
    assert "address" in mistakes(ec2={"zone": "example.org"}, address="203.0.113.8")
    given: Any = {**ARGS, "nodes": [{"name": "tmp01"}], "engine": "ssh://ops@h", "address": "203.0.113.8"}
    del given["ec2"]
    assert [error["property_path"] for error in check_tmpnb_node_pool(given)] == ["address"]


def test_hosts_must_fit_the_subnets():
    nodes = [{"name": f"tmp{number:04}"} for number in range(1, 503)]
    told = mistakes(nodes=nodes, capacity=1)

    assert "hold 251 hosts each" in told["cidr"]
    assert "cidr" not in mistakes(nodes=nodes, capacity=1, ec2={"zone": "example.org", "zones": 3})


def test_what_the_account_lacks_is_listed_at_once():
    def no_zone(_: object) -> dict[str, Any]:
        raise ValueError("no matching Route 53 Hosted Zone found")

    answers: dict[str, Answer] = {
        "aws:route53/getZone:getZone": no_zone,
        "aws:servicequotas/getServiceQuota:getServiceQuota": lambda _: {"value": 2},
        "aws:ec2/getInstanceType:getInstanceType": lambda _: {"defaultVcpus": 2, "memorySize": 2048},
    }
    with pytest.raises(pulumi.InputPropertiesError) as raised:
        build(answers)
    told = json.dumps(raised.value.errors)

    assert "no matching Route 53 Hosted Zone found" in told
    assert "(ec2 L-1216C47A): the account has 2, this stack needs up to 6" in told
    assert "(ec2 L-0263D0A3): the account has 2, this stack needs up to 3" in told
    assert "the servers of tmp01 may take 8192 MiB, and an m6i.2xlarge has 110 MiB for them" in told


def test_an_image_that_its_registry_does_not_have_is_listed_with_all_else_before_anything_is_made():
    own = f"{REPOSITORIES}/course:1@sha256:{'2' * 64}"

    def known(given: Mapping[str, Any]) -> dict[str, Any]:
        if given["repositoryName"] in {"hubstack/tmpnb-node", "hubstack/course"}:
            raise ValueError("ImageNotFoundException: The image does not exist")
        return {}

    answers: dict[str, Answer] = {
        "aws:ecr/getImage:getImage": known,
        "aws:servicequotas/getServiceQuota:getServiceQuota": lambda _: {"value": 2},
    }
    with pytest.raises(pulumi.InputPropertiesError) as raised:
        build(answers, nodes=[{"name": "tmp01"}, {"name": "tmp02", "image": own}])
    told = {error["property_path"]: error["reason"] for error in raised.value.errors or []}

    assert set(told) == {"nodeImage", "nodes[1].image", "fleetQuota"}
    assert f"{own} is not in its registry (" in told["nodes[1].image"]
    assert "ImageNotFoundException" in told["nodeImage"]


def test_images_are_asked_for_where_hosts_pull_them_and_only_those_of_hosts():
    asked: list[dict[str, Any]] = []

    def known(given: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(dict(given))
        return {}

    elsewhere = {**ELSEWHERE, "image": f"210987654321.dkr.ecr.eu-west-1.amazonaws.com/course@{DIGEST}"}
    proxied = {"egressProfile": EgressProfile.DOMAINS, "egressDomains": ["pypi.org"]}
    build(
        {"aws:ecr/getImage:getImage": known},
        nodes=[*ARGS["nodes"], elsewhere],
        notebookImage=f"210987654321.dkr.ecr.eu-west-1.amazonaws.com/notebook:7@{DIGEST}",
        redirectorImage=f"registry.example.org/redirector@{DIGEST}",
        egressProxyImage=f"{REPOSITORIES}/egress-proxy@{DIGEST}",
        **proxied,
    )

    here, there = ("123456789012", "us-east-1"), ("210987654321", "eu-west-1")
    assert {(one["registryId"], one["region"], one["repositoryName"], one["imageDigest"]) for one in asked} == {
        (*here, "hubstack/tmpnb-node", DIGEST),
        (*there, "notebook", DIGEST),
        (*here, "hubstack/egress-proxy", DIGEST),
    }


def test_servers_must_fit_the_memory_of_their_instance():
    def host(servers: int) -> NodeHost:
        return NodeHost("tmp01", "workerType", "t3.medium", servers, "512M", "capacity")

    size, own = {"workerType": InstanceSize(2, 4096)}, {"tmp01": 1088 * 2**20}
    assert check_memory(size, [host(4)], own) == []
    assert [e["property_path"] for e in check_memory(size, [host(5)], own)] == ["capacity"]


def test_an_egress_proxy_and_its_guard_take_their_memory_from_the_servers_of_the_instance():
    domains: dict[str, Any] = {
        "egressProfile": EgressProfile.DOMAINS,
        "egressDomains": ["pypi.org"],
        "egressProxyImage": f"{REPOSITORIES}/egress-proxy@{DIGEST}",
    }
    # 32 GiB less what their kernel keeps, 768 MiB for the system, and 1,088 MiB or 1,408 MiB for the node's containers.
    room = {"closed": 29601, "domains": 29281}

    def told(mebibytes: int, profile: str) -> str:
        answers: dict[str, Answer] = {
            "aws:ec2/getInstanceType:getInstanceType": lambda _: {"defaultVcpus": 8, "memorySize": 32768}
        }
        more = domains if profile == "domains" else {}
        try:
            build(answers, capacity=1, userQuota={"memory": f"{mebibytes}M"}, **more)
        except pulumi.InputPropertiesError as error:
            return json.dumps(error.errors)
        return ""

    for profile, most in room.items():
        assert told(most, profile) == ""
        assert f"has {most} MiB for them" in told(most + 1, profile)


def test_disks_of_many_hosts_are_held_against_the_accounts_limit():
    hosts = [NodeHost(f"tmp{n}", "workerType", "t3.medium", 1, "512M", "capacity") for n in range(1, 100)]
    sizes = {"workerType": InstanceSize(2, 4096), "managerType": InstanceSize(2, 2048)}

    needs = {need.code: need.need for need in quota_needs(sizes, hosts, redirector=True)}

    assert needs == {"L-1216C47A": 200, "L-0263D0A3": 100, "L-7A658B76": 3}


def texts(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def test_the_stack_is_local_until_it_is_rehearsed():
    own = configuration("tmpnb")

    assert hosted_zone(own) == "example.org"
    assert "ec2" in parse_settings(texts(own)).tmpnb_node_pool()
    assert [node["name"] for node in own["hubstack:tmpnb"]["nodes"]] == ["tmp01", "tmp02"]


def test_what_is_added_for_a_rehearsal_joins_the_keys_of_an_object():
    one = {"a": {"x": 1, "y": 1}, "b": "text", "c": [1]}

    assert merged(one, {"a": {"y": 2, "z": 2}, "b": "other"}) == {"a": {"x": 1, "y": 2, "z": 2}, "b": "other", "c": [1]}


def test_mistakes_are_named_by_the_keys_of_the_stacks_file():
    config = merged(configuration("tmpnb"), {"hubstack:ec2": {"managers": 3, "workerType": "x"}})
    with pytest.raises(pulumi.RunError) as raised:
        parse_settings(texts({**config, "hubstack:domain": "tmp.example.com"}))

    for words in ("hubstack:domain: ", "hubstack:ec2.managers: ", "hubstack:ec2.workerType: "):
        assert words in str(raised.value)
