"""TLS at the front: Caddy on the published port, with a certificate from Docker secrets."""

from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

TLS_PORT = 8443
"""Port inside the TLS proxy's container."""

VALIDITY_HOURS = 24 * 365
RENEWAL_HOURS = 24 * 30

SELF_SIGNED_USES = ["key_encipherment", "digital_signature", "server_auth"]


@dataclass(frozen=True)
class Certificate:
    """A certificate chain and its key in PEM."""

    chain: pulumi.Output[str]
    key: pulumi.Output[str]


def self_signed_certificate(name: str, domain: str, opts: pulumi.ResourceOptions) -> Certificate:
    """A certificate for `domain` that no browser knows, for a machine without a public name.

    It is made anew by an update within 30 days of its end.
    """
    key = tls.PrivateKey(f"{name}-key", algorithm="ECDSA", ecdsa_curve="P256", opts=opts)
    addresses = ["127.0.0.1"] if domain == "localhost" else []
    certificate = tls.SelfSignedCert(
        f"{name}-cert",
        private_key_pem=key.private_key_pem,
        subject=tls.SelfSignedCertSubjectArgs(common_name=domain, organization="Hubstack"),
        dns_names=[domain],
        ip_addresses=addresses,
        allowed_uses=SELF_SIGNED_USES,
        validity_period_hours=VALIDITY_HOURS,
        early_renewal_hours=RENEWAL_HOURS,
        opts=opts,
    )
    return Certificate(chain=certificate.cert_pem, key=pulumi.Output.secret(key.private_key_pem))


def caddyfile(upstream: str) -> str:
    """Caddy's configuration: TLS on `TLS_PORT`, everything passed on to `upstream`, no administration API."""
    return f"""{{
	admin off
	auto_https off
	servers {{
		protocols h1 h2
	}}
}}
:{TLS_PORT} {{
	tls /run/secrets/tls-cert /run/secrets/tls-key
	header {{
		Strict-Transport-Security "max-age=31536000"
		-Server
	}}
	reverse_proxy {upstream}
}}
"""
