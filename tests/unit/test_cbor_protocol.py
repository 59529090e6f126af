"""What the AWS simulator answers to who speaks the newer protocol."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer

from toolchain.aws_simulator import client, simulated_aws

ALARM: dict[str, Any] = {
    "AlarmName": "tmp01",
    "Namespace": "AWS/Route53",
    "MetricName": "HealthCheckStatus",
    "Dimensions": [{"Name": "HealthCheckId", "Value": "abc"}],
    "Statistic": "Minimum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 1.0,
    "ComparisonOperator": "LessThanThreshold",
    "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:alarms"],
}


def asked(endpoint: str, operation: str, given: dict[str, Any]) -> Any:
    """What CloudWatch answers, spoken to in the newer protocol."""
    shape = client("cloudwatch", endpoint).meta.service_model.operation_model(operation).input_shape
    content = bytearray()
    serializer: Any = RpcV2CBORSerializer()
    serializer._serialize_data_item(content, given, shape)
    request = urllib.request.Request(
        f"{endpoint}/service/GraniteServiceVersion20100801/operation/{operation}",
        data=bytes(content),
        headers={"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/monitoring/aws4_request"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.headers["smithy-protocol"] == "rpc-v2-cbor"
        return read(response.read())


def read(body: bytes) -> Any:
    parser: Any = RpcV2CBORParser()
    return parser.parse_data_item(parser.get_peekable_stream_from_bytes(body))


def test_an_alarm_is_made_read_and_refused_in_the_newer_protocol():
    with simulated_aws("example.org") as endpoint:
        assert asked(endpoint, "PutMetricAlarm", ALARM) == {}

        [alarm] = asked(endpoint, "DescribeAlarms", {"AlarmNames": ["tmp01"]})["MetricAlarms"]
        assert {key: alarm[key] for key in ALARM} == ALARM
        assert json.dumps(alarm["StateUpdatedTimestamp"], default=str)

        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(endpoint, "DeleteDashboards", {"DashboardNames": ["none"]})
        assert read(refused.value.read())["__type"]
