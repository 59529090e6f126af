"""TLS at the front: Caddy on the published port, with a certificate from Docker secrets."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

TLS_PORT = 8443
"""Port inside the TLS proxy's container."""

ACME_PORT = 8080
"""Port inside it that Let's Encrypt asks, behind port 80 of the host."""

VALIDITY_HOURS = 24 * 365
RENEWAL_HOURS = 24 * 30

SELF_SIGNED_USES = ["key_encipherment", "digital_signature", "server_auth"]


@dataclass(frozen=True)
class Certificate:
    """A certificate chain and its key in PEM."""

    chain: pulumi.Output[str]
    key: pulumi.Output[str]


def self_signed_certificate(
    name: str, domain: str, opts: pulumi.ResourceOptions, *, more_domains: Sequence[str] = ()
) -> Certificate:
    """A certificate for `domain` that no browser knows, for a machine without a public name.

    It is made anew by an update within 30 days of its end.

    Args:
        name: prefix of the resources' names.
        domain: name that it is for.
        opts: resource options.
        more_domains: further names, which may begin with a star.
    """
    key = tls.PrivateKey(f"{name}-key", algorithm="ECDSA", ecdsa_curve="P256", opts=opts)
    addresses = ["127.0.0.1"] if domain == "localhost" else []
    certificate = tls.SelfSignedCert(
        f"{name}-cert",
        private_key_pem=key.private_key_pem,
        subject=tls.SelfSignedCertSubjectArgs(common_name=domain, organization="Hubstack"),
        dns_names=[domain, *more_domains],
        ip_addresses=addresses,
        allowed_uses=SELF_SIGNED_USES,
        validity_period_hours=VALIDITY_HOURS,
        early_renewal_hours=RENEWAL_HOURS,
        opts=opts,
    )
    return Certificate(chain=certificate.cert_pem, key=pulumi.Output.secret(key.private_key_pem))


def caddyfile(upstream: str, *, secrets: str = "/run/secrets", more: str = "") -> str:
    """Caddy's configuration: TLS on `TLS_PORT`, everything passed on to `upstream`, no administration API.

    Args:
        upstream: where everything is passed on to.
        secrets: folder of the certificate and its key. Default: Docker's own.
        more: a further directive of the site.
    """
    return f"""{{
	admin off
	auto_https off
	servers {{
		protocols h1 h2
	}}
}}
:{TLS_PORT} {{
	tls {secrets}/tls-cert {secrets}/tls-key
	header {{
		Strict-Transport-Security "max-age=31536000"
		-Server
	}}
{_line(more)}	reverse_proxy {upstream}
}}
"""


def acme_caddyfile(upstream: str, domain: str, email: str, *, more: str = "") -> str:
    """The same with a certificate of Let's Encrypt for `domain`; whoever comes without TLS is sent on to it.

    Args:
        upstream: where everything is passed on to.
        domain: public name of the host.
        email: who hears from Let's Encrypt.
        more: a further directive of the site.
    """
    return f"""{{
	admin off
	email {email}
	http_port {ACME_PORT}
	https_port {TLS_PORT}
	servers {{
		protocols h1 h2
	}}
}}
{domain} {{
	header {{
		Strict-Transport-Security "max-age=31536000"
		-Server
	}}
{_line(more)}	reverse_proxy {upstream}
}}
"""


def _line(directive: str) -> str:
    return f"\t{directive}\n" if directive else ""
