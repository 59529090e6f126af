"""Rules that are the world together, under the real engine and provider, before anything has an id."""

from pathlib import Path

import pytest

from tests.stacks import needs_pulumi
from toolchain.aws_simulator import simulated_aws
from toolchain.rehearsal import Rehearsal, RehearsalError

pytestmark = pytest.mark.engine

PROGRAM = """
import pulumi_aws as aws

split = aws.ec2.SecurityGroup("split", description="Ports in halves")
for number, (first, last) in enumerate([(0, 32767), (32768, 65535)]):
    aws.vpc.SecurityGroupEgressRule(
        f"half-{number}",
        security_group_id=split.id,
        ip_protocol="tcp",
        from_port=first,
        to_port=last,
        cidr_ipv4="0.0.0.0/0",
    )
inside = aws.ec2.SecurityGroup("inside", description="A rule inside", egress=[])
aws.vpc.SecurityGroupEgressRule(
    "private", security_group_id=inside.id, ip_protocol="tcp", from_port=443, to_port=443, cidr_ipv4="10.0.0.0/8"
)
aws.ec2.LaunchTemplate(
    "hosts",
    instance_type="t3.small",
    vpc_security_group_ids=[inside.id],
    metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1},
    block_device_mappings=[{"device_name": "/dev/xvda", "ebs": {"encrypted": "true"}}],
)
"""


def test_rules_are_joined_at_preview_when_no_group_has_an_id(tmp_path: Path):
    needs_pulumi()
    with simulated_aws("example.org") as endpoint:
        stack = Rehearsal("ec2hub", tmp_path, endpoint)
        stack.prepare()
        (stack.project / "__main__.py").write_text(PROGRAM)

        with pytest.raises(RehearsalError) as refused:
            stack.step("preview", "preview", *stack.pack())

    told = [line.strip() for line in str(refused.value).splitlines() if line.strip().startswith(("[", "undecided: ["))]
    assert sorted(line.split(" (")[0] for line in told) == [
        "[joined-egress] split",
        "[joined-private-egress] inside",
        "[one-kind-of-rules] inside",
    ]
