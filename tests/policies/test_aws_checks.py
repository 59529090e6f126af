"""Each check on AWS's resources: what passes, what is refused, what cannot be decided."""

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from pulumi.runtime.rpc import UNKNOWN
from pulumi_policy.proxy import unknown_checking_proxy

import policies.pack  # noqa: F401  (registers the checks)
from components import Ec2HubCluster, EgressProfile
from components.aws.boot import archive
from components.ec2_hub_cluster import hub_settings
from policies import resource_types as types
from policies.registry import REGISTRY
from tests.policies.rows import CONFIGURATION
from tests.unit.recording import Registration, record
from tests.unit.test_ec2_hub_cluster import ARGS

Properties = dict[str, Any]

WORLD = "0.0.0.0/0"


def verdict(check: str, type_: str, properties: Properties, **config: Any) -> str:
    findings = [
        finding
        for found, finding in REGISTRY.findings(
            None, type_, "x", unknown_checking_proxy(properties), {**CONFIGURATION, **config}
        )
        if found.id == check
    ]
    if any(not finding.undecided for finding in findings):
        return "refused"
    return "undecided" if findings else "passes"


def inline(direction: str, first: Any, last: Any, *ranges: Any, protocol: Any = "tcp") -> Properties:
    return {direction: [{"protocol": protocol, "fromPort": first, "toPort": last, "cidrBlocks": list(ranges)}]}


def legacy(direction: str, first: Any, last: Any, *ranges: Any, protocol: str = "tcp") -> Properties:
    return {"type": direction, "protocol": protocol, "fromPort": first, "toPort": last, "cidrBlocks": list(ranges)}


def alone(first: Any, last: Any, cidr: Any = None, protocol: str = "tcp", **more: Any) -> Properties:
    ranges = {} if cidr is None else {"cidrIpv6" if ":" in str(cidr) else "cidrIpv4": cidr}
    return {"ipProtocol": protocol, "fromPort": first, "toPort": last, **ranges, **more}


def document(*statements: Properties) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def host(**changes: Any) -> Properties:
    options = {"httpTokens": "required", "httpPutResponseHopLimit": 1.0, **changes.pop("options", {})}
    return {"instanceType": "t3.small", "metadataOptions": options, "rootBlockDevice": {"encrypted": True}, **changes}


def allow(action: Any, resource: Any = "arn:aws:s3:::b/k", **more: Any) -> Properties:
    return {"policy": document({"Effect": "Allow", "Action": action, "Resource": resource, **more})}


def answering(kind: Any, protocol: str | None = None) -> Properties:
    """A listener on plain HTTP."""
    action = {"type": kind, **({"redirect": {"protocol": protocol}} if protocol else {})}
    return {"protocol": "HTTP", "defaultActions": [action]}


def encrypting(policy: Any) -> Properties:
    return {"protocol": "HTTPS", "sslPolicy": policy}


PLAIN = {"Bool": {"aws:SecureTransport": "false"}}


def mounting(**changes: Any) -> Properties:
    """A file system's policy with one statement, which refuses plain transport but for `changes`."""
    refusing = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["*"], "Resource": ["*"], "Condition": PLAIN}
    return {"policy": document({**refusing, **changes})}


def copied(status: Any) -> Properties:
    """A file system's backup."""
    return {"fileSystemId": UNKNOWN, "backupPolicy": {"status": status}}


def bundle(stack_file: Any) -> Properties:
    """A bundle whose stack file is `stack_file`; None for a bundle without one."""
    text = stack_file if isinstance(stack_file, str) else json.dumps(stack_file)
    files = {} if stack_file is None else {"stack.json": text.encode()}
    return {"contentBase64": base64.b64encode(archive({"hub-settings.json": b"{}", **files})).decode()}


CASES: list[tuple[str, str, Properties, str]] = [
    ("security-group-ingress", types.INGRESS_RULE, alone(443, 443, WORLD), "passes"),
    ("security-group-ingress", types.INGRESS_RULE, alone(8081, 8081, "10.0.0.0/8"), "passes"),
    ("security-group-ingress", types.INGRESS_RULE, alone(8081, 8081, WORLD), "refused"),
    ("security-group-ingress", types.INGRESS_RULE, alone(443, 8443, "::/0"), "refused"),
    ("security-group-ingress", types.INGRESS_RULE, alone(None, None, WORLD, protocol="-1"), "refused"),
    ("security-group-ingress", types.SECURITY_GROUP, inline("ingress", 0, 65535, WORLD), "refused"),
    ("security-group-ingress", types.SECURITY_GROUP, {}, "passes"),
    ("security-group-ingress", types.SECURITY_GROUP_RULE, legacy("ingress", 25, 25, WORLD), "refused"),
    ("security-group-ingress", types.INGRESS_RULE, alone(443, 443, UNKNOWN), "undecided"),
    ("no-shell-port", types.INGRESS_RULE, alone(22, 22, "10.0.0.0/8"), "refused"),
    ("no-shell-port", types.INGRESS_RULE, alone(20, 30, WORLD), "refused"),
    ("no-shell-port", types.SECURITY_GROUP, inline("ingress", 3389, 3389, "192.0.2.1/32"), "refused"),
    ("no-shell-port", types.INGRESS_RULE, alone(443, 443, WORLD), "passes"),
    ("no-shell-port", types.INGRESS_RULE, alone(UNKNOWN, 443, WORLD), "undecided"),
    ("security-group-egress", types.EGRESS_RULE, alone(443, 443, WORLD), "passes"),
    ("security-group-egress", types.EGRESS_RULE, alone(None, None, WORLD, protocol="-1"), "refused"),
    ("security-group-egress", types.EGRESS_RULE, alone(0, 65535, "::/0"), "refused"),
    ("security-group-egress", types.SECURITY_GROUP, inline("egress", 0, 0, WORLD, protocol="-1"), "refused"),
    ("security-group-egress", types.SECURITY_GROUP_RULE, legacy("egress", 0, 0, WORLD, protocol="-1"), "refused"),
    ("security-group-egress", types.EGRESS_RULE, alone(None, None, UNKNOWN, protocol="-1"), "undecided"),
    ("metadata-egress", types.EGRESS_RULE, alone(80, 80, "169.254.169.254/32"), "refused"),
    ("metadata-egress", types.SECURITY_GROUP, inline("egress", 80, 80, "169.254.0.0/16"), "refused"),
    ("metadata-egress", types.EGRESS_RULE, alone(80, 80, "168.0.0.0/6"), "refused"),
    ("metadata-egress", types.EGRESS_RULE, alone(443, 443, "203.0.113.0/24"), "passes"),
    ("metadata-egress", types.EGRESS_RULE, alone(443, 443, UNKNOWN), "undecided"),
    ("default-security-group-closed", types.DEFAULT_SECURITY_GROUP, {"ingress": [], "egress": []}, "passes"),
    ("default-security-group-closed", types.DEFAULT_SECURITY_GROUP, inline("egress", 0, 0, WORLD), "refused"),
    ("default-security-group-closed", types.DEFAULT_SECURITY_GROUP, {"ingress": UNKNOWN}, "undecided"),
    ("metadata-token", types.INSTANCE, host(), "passes"),
    ("metadata-token", types.INSTANCE, host(options={"httpTokens": "optional"}), "refused"),
    ("metadata-token", types.LAUNCH_TEMPLATE, {}, "refused"),
    ("metadata-token", types.INSTANCE, host(options={"httpTokens": UNKNOWN}), "undecided"),
    ("metadata-hops", types.INSTANCE, host(), "passes"),
    ("metadata-hops", types.INSTANCE, host(options={"httpPutResponseHopLimit": 2}), "refused"),
    ("metadata-hops", types.LAUNCH_TEMPLATE, {}, "refused"),
    ("metadata-hops", types.INSTANCE, {"metadataOptions": UNKNOWN}, "undecided"),
    ("no-host-key", types.INSTANCE, host(), "passes"),
    ("no-host-key", types.INSTANCE, host(keyName="me"), "refused"),
    ("no-host-key", types.LAUNCH_TEMPLATE, host(keyName=UNKNOWN), "refused"),
    ("no-worker-role", types.LAUNCH_TEMPLATE, host(), "passes"),
    ("no-worker-role", types.LAUNCH_TEMPLATE, host(iamInstanceProfile={"name": "p"}), "refused"),
    ("no-public-address", types.SUBNET, {"mapPublicIpOnLaunch": False}, "passes"),
    ("no-public-address", types.SUBNET, {"mapPublicIpOnLaunch": True}, "refused"),
    (
        "no-public-address",
        types.LAUNCH_TEMPLATE,
        {"networkInterfaces": [{"associatePublicIpAddress": "true"}]},
        "refused",
    ),
    ("no-public-address", types.INSTANCE, host(associatePublicIpAddress=UNKNOWN), "undecided"),
    ("no-secret-in-user-data", types.INSTANCE, host(userData="readonly SECRET=arn:aws:x"), "passes"),
    ("no-secret-in-user-data", types.INSTANCE, host(userData="PASSWORD=hunter2hunter2"), "refused"),
    (
        "no-secret-in-user-data",
        types.LAUNCH_TEMPLATE,
        host(userData=base64.b64encode(b"key=AKIAABCDEFGHIJKLMNOP").decode()),
        "refused",
    ),
    ("role-actions", types.ROLE_POLICY, allow(["s3:GetObject"]), "passes"),
    ("role-actions", types.ROLE_POLICY, allow("ec2:Describe*"), "passes"),
    ("role-actions", types.ROLE_POLICY, allow("*"), "refused"),
    ("role-actions", types.IAM_POLICY, allow(["s3:GetObject", "ec2:*"]), "refused"),
    (
        "role-actions",
        types.ROLE_POLICY,
        {"policy": document({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"})},
        "refused",
    ),
    (
        "role-actions",
        types.ROLE_POLICY,
        {"policy": document({"Effect": "Deny", "Action": "*", "Resource": "*"})},
        "passes",
    ),
    ("role-resources", types.ROLE_POLICY, allow(["ec2:DescribeInstances"], "*"), "passes"),
    ("role-resources", types.ROLE_POLICY, allow(["ec2:RunInstances"], "*"), "refused"),
    ("role-resources", types.ROLE_POLICY, allow(["ec2:RunInstances"], ["*"], Condition={"Bool": {}}), "refused"),
    (
        "role-resources",
        types.ROLE_POLICY,
        allow("ec2:StopInstances", "*", Condition={"StringEquals": {"aws:ResourceTag/a": "b"}}),
        "passes",
    ),
    (
        "role-trust",
        types.ROLE,
        {"assumeRolePolicy": document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}})},
        "passes",
    ),
    ("role-trust", types.ROLE, {"assumeRolePolicy": document({"Effect": "Allow", "Principal": "*"})}, "refused"),
    (
        "role-trust",
        types.ROLE,
        {"assumeRolePolicy": document({"Effect": "Allow", "Principal": {"AWS": ["*"]}})},
        "refused",
    ),
    ("role-trust", types.ROLE, {"assumeRolePolicy": UNKNOWN}, "undecided"),
    (
        "role-attachment",
        types.ROLE_ATTACHMENT,
        {"policyArn": "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"},
        "passes",
    ),
    ("role-attachment", types.ROLE_ATTACHMENT, {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}, "refused"),
    ("role-attachment", types.ROLE_ATTACHMENT, {"policyArn": UNKNOWN}, "undecided"),
    ("disk-encrypted", types.DISK, {"encrypted": True}, "passes"),
    ("disk-encrypted", types.DISK, {}, "refused"),
    ("disk-encrypted", types.INSTANCE, host(rootBlockDevice={"encrypted": False}), "refused"),
    ("disk-encrypted", types.INSTANCE, {"instanceType": "t3.small"}, "refused"),
    (
        "disk-encrypted",
        types.LAUNCH_TEMPLATE,
        {"blockDeviceMappings": [{"ebs": {"encrypted": "true"}}, {"ebs": {"encrypted": "false"}}]},
        "refused",
    ),
    ("disk-encrypted", types.FILE_SYSTEM, {"encrypted": UNKNOWN}, "undecided"),
    (
        "bucket-private",
        types.BUCKET_ACCESS,
        dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True),
        "passes",
    ),
    ("bucket-private", types.BUCKET_ACCESS, {"blockPublicAcls": True}, "refused"),
    ("log-retention", types.LOG_GROUP, {"retentionInDays": 30}, "passes"),
    ("log-retention", types.LOG_GROUP, {"retentionInDays": 1}, "refused"),
    ("log-retention", types.LOG_GROUP, {}, "refused"),
    ("log-retention", types.LOG_GROUP, {"retentionInDays": UNKNOWN}, "undecided"),
    ("secret-recovery", types.AWS_SECRET, {}, "passes"),
    ("secret-recovery", types.AWS_SECRET, {"recoveryWindowInDays": 0}, "refused"),
    ("secret-recovery", types.AWS_SECRET, {"recoveryWindowInDays": UNKNOWN}, "undecided"),
    ("instance-size", types.INSTANCE, host(), "passes"),
    ("instance-size", types.LAUNCH_TEMPLATE, {"instanceType": "m6i.4xlarge"}, "passes"),
    ("instance-size", types.LAUNCH_TEMPLATE, {"instanceType": "m6i.8xlarge"}, "refused"),
    ("instance-size", types.LAUNCH_TEMPLATE, {"instanceType": "m6i.metal"}, "refused"),
    ("instance-size", types.LAUNCH_TEMPLATE, {"instanceType": "p3.2xlarge"}, "refused"),
    ("instance-size", types.LAUNCH_TEMPLATE, {}, "refused"),
    ("instance-size", types.INSTANCE, {"instanceType": UNKNOWN}, "undecided"),
    ("fleet-size", types.AUTO_SCALING_GROUP, {"maxSize": 10}, "passes"),
    ("fleet-size", types.AUTO_SCALING_GROUP, {"maxSize": 101}, "refused"),
    ("fleet-size", types.AUTO_SCALING_GROUP, {}, "refused"),
    ("fleet-size", types.AUTO_SCALING_GROUP, {"maxSize": UNKNOWN}, "undecided"),
    ("record-lifetime", types.RECORD, {"ttl": 60}, "passes"),
    ("record-lifetime", types.RECORD, {"ttl": 86400}, "refused"),
    ("record-lifetime", types.RECORD, {"ttl": UNKNOWN}, "undecided"),
    ("record-ttl", types.RECORD, {"type": "A", "ttl": 60}, "passes"),
    ("record-ttl", types.RECORD, {"type": "A", "aliases": [{"name": "balancer"}]}, "passes"),
    ("record-ttl", types.RECORD, {"type": "TXT", "ttl": 300}, "passes"),
    ("record-ttl", types.RECORD, {"type": UNKNOWN, "ttl": 60}, "passes"),
    ("record-ttl", types.RECORD, {"type": "A", "ttl": 61}, "refused"),
    ("record-ttl", types.RECORD, {"type": "AAAA", "ttl": 300}, "refused"),
    ("record-ttl", types.RECORD, {"type": "A"}, "refused"),
    ("record-ttl", types.RECORD, {"type": "A", "ttl": UNKNOWN}, "undecided"),
    ("record-ttl", types.RECORD, {"type": UNKNOWN, "ttl": 300}, "undecided"),
    ("record-ttl", types.RECORD, {"type": "A", "aliases": UNKNOWN}, "undecided"),
    ("health-check-https", types.HEALTH_CHECK, {"type": "HTTPS"}, "passes"),
    ("health-check-https", types.HEALTH_CHECK, {"type": "CALCULATED"}, "passes"),
    ("health-check-https", types.HEALTH_CHECK, {"type": "HTTP"}, "refused"),
    ("health-check-https", types.HEALTH_CHECK, {"type": "tcp"}, "refused"),
    ("health-check-https", types.HEALTH_CHECK, {}, "refused"),
    ("health-check-https", types.HEALTH_CHECK, {"type": UNKNOWN}, "undecided"),
    ("listener-tls", types.LISTENER, {"protocol": "HTTPS"}, "passes"),
    ("listener-tls", types.LISTENER, {"protocol": "TLS"}, "passes"),
    ("listener-tls", types.LISTENER, answering("redirect", "HTTPS"), "passes"),
    ("listener-tls", types.LISTENER, answering("redirect", "#{protocol}"), "refused"),
    ("listener-tls", types.LISTENER, answering("forward"), "refused"),
    ("listener-tls", types.LISTENER, {"protocol": "HTTP"}, "refused"),
    ("listener-tls", types.OLD_LISTENER, {"protocol": "TCP"}, "refused"),
    ("listener-tls", types.LISTENER, {}, "refused"),
    ("listener-tls", types.LISTENER, {"protocol": UNKNOWN}, "undecided"),
    ("listener-tls", types.LISTENER, answering(UNKNOWN), "undecided"),
    ("listener-tls-version", types.LISTENER, encrypting("ELBSecurityPolicy-TLS13-1-2-2021-06"), "passes"),
    ("listener-tls-version", types.LISTENER, encrypting("ELBSecurityPolicy-FS-1-2-Res-2020-10"), "passes"),
    ("listener-tls-version", types.LISTENER, encrypting("ELBSecurityPolicy-TLS13-1-0-2021-06"), "refused"),
    ("listener-tls-version", types.OLD_LISTENER, encrypting("ELBSecurityPolicy-2016-08"), "refused"),
    ("listener-tls-version", types.LISTENER, {"protocol": "TLS"}, "refused"),
    ("listener-tls-version", types.LISTENER, answering("redirect", "HTTPS"), "passes"),
    ("listener-tls-version", types.LISTENER, encrypting(UNKNOWN), "undecided"),
    ("target-tls", types.TARGET_GROUP, {"protocol": "HTTPS"}, "passes"),
    ("target-tls", types.TARGET_GROUP, {"targetType": "lambda"}, "passes"),
    ("target-tls", types.OLD_TARGET_GROUP, {"protocol": "HTTP"}, "refused"),
    ("target-tls", types.TARGET_GROUP, {}, "refused"),
    ("target-tls", types.TARGET_GROUP, {"protocol": UNKNOWN}, "undecided"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, mounting(), "passes"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, mounting(Principal="*", Action="elasticfilesystem:*"), "passes"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, mounting(Effect="Allow"), "refused"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, mounting(Principal={"AWS": "arn:aws:iam::1:root"}), "refused"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, mounting(Action=["elasticfilesystem:ClientWrite"]), "refused"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, mounting(Condition={}), "refused"),
    (
        "file-system-tls",
        types.FILE_SYSTEM_POLICY,
        mounting(Condition={**PLAIN, "StringEquals": {"aws:SourceVpc": "vpc-1"}}),
        "refused",
    ),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, {"policy": "no document"}, "refused"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, {}, "refused"),
    ("file-system-tls", types.FILE_SYSTEM_POLICY, {"policy": UNKNOWN}, "passes"),
    ("file-system-backup", types.FILE_SYSTEM_BACKUP, copied("ENABLED"), "passes"),
    ("file-system-backup", types.FILE_SYSTEM_BACKUP, copied("DISABLED"), "refused"),
    ("file-system-backup", types.FILE_SYSTEM_BACKUP, {"fileSystemId": UNKNOWN}, "refused"),
    ("file-system-backup", types.FILE_SYSTEM_BACKUP, copied(UNKNOWN), "undecided"),
    ("file-system-backup", types.FILE_SYSTEM_BACKUP, {}, "passes"),
    ("bundle-readable", types.BUNDLE, {"key": "bundle.tar.gz", **bundle(None)}, "passes"),
    ("bundle-readable", types.BUNDLE, {"key": "page.html", "content": "page"}, "passes"),
    ("bundle-readable", types.BUNDLE, {"key": "bundle.tar.gz", "source": {"path": "bundle.tar.gz"}}, "refused"),
    ("bundle-readable", types.BUNDLE, {"key": "bundle", "contentType": "application/gzip", "content": "x"}, "refused"),
    ("bundle-readable", types.BUNDLE, {"key": "bundle.tgz", "contentBase64": "bm90IGEgYnVuZGxl"}, "refused"),
    ("bundle-readable", types.BUNDLE, {"key": "bundle.tar.gz", "contentBase64": UNKNOWN}, "undecided"),
    ("bundle-type", types.OLD_BUCKET_OBJECT, {"key": "page.html", "content": "page"}, "passes"),
    ("bundle-type", types.OLD_BUCKET_OBJECT, {"key": "bundle.tar.gz", **bundle(None)}, "refused"),
    ("stack-file-readable", types.BUNDLE, bundle({"services": {"hub": {"image": "i"}}}), "passes"),
    ("stack-file-readable", types.BUNDLE, bundle(None), "passes"),
    ("stack-file-readable", types.BUNDLE, bundle("services: {}"), "refused"),
    ("stack-file-readable", types.BUNDLE, bundle([]), "refused"),
    ("stack-file-readable", types.BUNDLE, bundle({}), "refused"),
    ("stack-file-readable", types.BUNDLE, bundle({"services": {"hub": "image"}}), "refused"),
    ("stack-file-readable", types.BUNDLE, {"contentBase64": UNKNOWN}, "undecided"),
    ("stack-file-secrets", types.BUNDLE, bundle({"secrets": {"key": {"external": True}}}), "passes"),
    ("stack-file-secrets", types.BUNDLE, bundle(None), "passes"),
    ("stack-file-secrets", types.BUNDLE, bundle({"secrets": {"key": {"file": "./key"}}}), "refused"),
    ("stack-file-secrets", types.BUNDLE, {"contentBase64": UNKNOWN}, "undecided"),
]


@pytest.mark.parametrize(("check", "type_", "properties", "expected"), CASES)
def test_a_check_says_what_it_should(check: str, type_: str, properties: Properties, expected: str):
    assert verdict(check, type_, properties) == expected


def test_how_long_an_address_lives_is_the_configurations():
    record = {"type": "A", "ttl": 120}

    assert verdict("record-ttl", types.RECORD, record, maxRecordSeconds=120) == "passes"
    assert verdict("record-ttl", types.RECORD, record, maxRecordSeconds=119) == "refused"


def test_every_check_on_aws_refuses_something_and_passes_something():
    checks = {check.id for check in REGISTRY.checks if all(token.startswith("aws:") for token in check.types)}

    assert len(checks) >= 20
    for wanted in ("passes", "refused"):
        assert {check for check, _, _, expected in CASES if expected == wanted} == checks


def graph(profile: EgressProfile = EgressProfile.CLOSED) -> list[Registration]:
    return record(lambda: Ec2HubCluster("lab", {**ARGS, "egressProfile": profile})).registrations


def violations(registrations: list[Registration], **config: Any) -> set[str]:
    return {
        check.id
        for r in registrations
        for check, _ in REGISTRY.findings(
            None, r.type, r.name, unknown_checking_proxy(r.properties), {**CONFIGURATION, **config}
        )
    }


def test_a_hub_on_ec2_passes_with_its_defaults():
    assert violations(graph()) == set()


def test_an_open_profile_on_ec2_passes_where_it_is_allowed_and_nowhere_else():
    assert violations(graph(EgressProfile.OPEN), allowOpen=True) == set()
    assert violations(graph(EgressProfile.OPEN)) == {"egress-profile"}


def weakened_settings(change: Callable[[Properties], object]) -> Callable[[Properties], None]:
    def edit(properties: Properties) -> None:
        document = json.loads(hub_settings("lab", ARGS))
        change(document)
        bundle = archive({"hub-settings.json": json.dumps(document).encode()})
        properties["contentBase64"] = base64.b64encode(bundle).decode()

    return edit


def template(properties: Properties) -> Properties:
    return properties["metadataOptions"]


BAD_CHANGES: list[tuple[str, str, Callable[[Properties], object], str]] = [
    ("lab-worker", types.LAUNCH_TEMPLATE, lambda p: template(p).update(httpTokens="optional"), "metadata-token"),
    ("lab-worker", types.LAUNCH_TEMPLATE, lambda p: template(p).update(httpPutResponseHopLimit=2), "metadata-hops"),
    ("lab-worker", types.LAUNCH_TEMPLATE, lambda p: p.update(iamInstanceProfile={"name": "m"}), "no-worker-role"),
    ("lab-worker", types.LAUNCH_TEMPLATE, lambda p: p.update(keyName="me"), "no-host-key"),
    ("lab-worker", types.LAUNCH_TEMPLATE, lambda p: p.update(instanceType="g5.xlarge"), "instance-size"),
    ("lab-manager", types.INSTANCE, lambda p: p["rootBlockDevice"].update(encrypted=False), "disk-encrypted"),
    ("lab-data", types.DISK, lambda p: p.pop("encrypted"), "disk-encrypted"),
    (
        "lab-manager-from-everybody-https",
        types.INGRESS_RULE,
        lambda p: p.update(fromPort=22, toPort=22),
        "no-shell-port",
    ),
    (
        "lab-manager-from-everybody-https",
        types.INGRESS_RULE,
        lambda p: p.update(fromPort=0, toPort=65535),
        "security-group-ingress",
    ),
    (
        "lab-manager-to-internet-https",
        types.EGRESS_RULE,
        lambda p: p.update(ipProtocol="-1", fromPort=None, toPort=None),
        "security-group-egress",
    ),
    (
        "lab-manager-to-internet-https",
        types.EGRESS_RULE,
        lambda p: p.update(cidrIpv4="169.254.169.254/32"),
        "metadata-egress",
    ),
    (
        "lab-manager",
        types.ROLE_POLICY,
        lambda p: p.update(policy=p["policy"].replace("ec2:StartInstances", "ec2:*")),
        "role-actions",
    ),
    (
        "lab-manager",
        types.ROLE,
        lambda p: p.update(assumeRolePolicy=document({"Effect": "Allow", "Principal": "*"})),
        "role-trust",
    ),
    ("lab-us-east-1a-public", types.SUBNET, lambda p: p.update(mapPublicIpOnLaunch=True), "no-public-address"),
    ("lab-flows", types.LOG_GROUP, lambda p: p.pop("retentionInDays"), "log-retention"),
    ("lab", types.RECORD, lambda p: p.update(ttl=86400), "record-lifetime"),
    ("lab", types.RECORD, lambda p: p.update(ttl=300), "record-ttl"),
    ("lab", types.HEALTH_CHECK, lambda p: p.update(type="TCP"), "health-check-https"),
    ("lab-bundle", types.BUCKET_ACCESS, lambda p: p.update(blockPublicPolicy=False), "bucket-private"),
    ("lab-bundle", types.BUNDLE, weakened_settings(lambda d: d["quota"].pop("max_age_seconds")), "user-quota-complete"),
    ("lab-bundle", types.BUNDLE, weakened_settings(lambda d: d["quota"].update(cpu=64)), "user-quota-maximum"),
    ("lab-bundle", types.BUNDLE, weakened_settings(lambda d: d["fleet"].update(servers=0)), "fleet-cap"),
    ("lab-bundle", types.BUNDLE, weakened_settings(lambda d: d["egress"].update(profile="open")), "egress-profile"),
    ("lab-bundle", types.BUNDLE, lambda p: p.update(contentBase64="bm90IGEgYnVuZGxl"), "user-quota-complete"),
    ("lab-bundle", types.BUNDLE, lambda p: p.update(contentBase64=UNKNOWN), "fleet-cap"),
    ("lab-hub", types.AWS_SECRET, lambda p: p.update(recoveryWindowInDays=0), "secret-recovery"),
]


@pytest.mark.parametrize(("name", "kind", "change", "check"), BAD_CHANGES)
def test_a_bad_change_to_the_hub_on_ec2_is_refused(
    name: str, kind: str, change: Callable[[Properties], object], check: str
):
    changed = copy.deepcopy(graph())
    [target] = [r for r in changed if r.name == name and r.type == kind]
    change(target.properties)

    assert check in violations(changed)
