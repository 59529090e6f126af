"""Certificates for names of a hosted zone, proved by a record in it and renewed by AWS."""

import pulumi
import pulumi_aws as aws

from components.aws.dns import RECORD_SECONDS


def validated_certificate(
    name: str, domain: str, zone_id: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """ARN of a certificate for `domain`, known once AWS has seen the record that proves the name."""
    certificate = aws.acm.Certificate(name, domain_name=domain, validation_method="DNS", tags={"Name": name}, opts=opts)
    proof = certificate.domain_validation_options[0]
    record = aws.route53.Record(
        f"{name}-proof",
        zone_id=zone_id,
        name=proof.resource_record_name,
        type=proof.resource_record_type,
        records=[proof.resource_record_value],
        ttl=RECORD_SECONDS,
        # A name that another stack of the account proved, too, has the same record.
        allow_overwrite=True,
        opts=opts,
    )
    validation = aws.acm.CertificateValidation(
        name, certificate_arn=certificate.arn, validation_record_fqdns=[record.fqdn], opts=opts
    )
    return validation.certificate_arn
