"""The AWS of this machine."""

from toolchain.aws_simulator import client, simulated_aws


def test_each_simulated_account_begins_anew():
    for _ in range(2):
        with simulated_aws("example.org") as endpoint:
            zones = client("route53", endpoint).list_hosted_zones()["HostedZones"]

            assert [zone["Name"] for zone in zones] == ["example.org."]
