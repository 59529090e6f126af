"""Names: a record for a host's address and a check that asks it over HTTPS."""

import pulumi
import pulumi_aws as aws

RECORD_SECONDS = 60
"""How long others may remember an address."""


def hosted_zone(zone: str, opts: pulumi.InvokeOptions) -> str:
    """Id of the public hosted zone with this name.

    Raises:
        Exception: there is none in the account; the provider's message names it.
    """
    return aws.route53.get_zone(name=zone, private_zone=False, opts=opts).zone_id


def address_record(
    name: str, zone_id: pulumi.Input[str], domain: str, address: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> aws.route53.Record:
    """Point `domain` at `address`."""
    return aws.route53.Record(
        name, zone_id=zone_id, name=domain, type="A", ttl=RECORD_SECONDS, records=[address], opts=opts
    )


def alias_record(
    name: str,
    zone_id: pulumi.Input[str],
    domain: str,
    target: pulumi.Input[str],
    target_zone_id: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> aws.route53.Record:
    """Point `domain` at another of AWS's names, such as a load balancer's, whose addresses change."""
    return aws.route53.Record(
        name,
        zone_id=zone_id,
        name=domain,
        type="A",
        aliases=[aws.route53.RecordAliasArgs(name=target, zone_id=target_zone_id, evaluate_target_health=True)],
        opts=opts,
    )


def https_check(
    name: str, domain: str, path: str, opts: pulumi.ResourceOptions, *, port: int = 443
) -> aws.route53.HealthCheck:
    """Ask `https://domain:port/path` from several regions every 30 s; three misses make it unhealthy."""
    return aws.route53.HealthCheck(
        name,
        type="HTTPS",
        fqdn=domain,
        port=port,
        resource_path=path,
        failure_threshold=3,
        request_interval=30,
        tags={"Name": name},
        opts=opts,
    )
