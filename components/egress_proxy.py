"""The way out of the profile `domains`: squid's configuration, which passes on HTTPS to named domains and nothing else."""

from collections.abc import Iterable

from components.egress import NEVER_REACHED

PROXY_PORT = 3128
"""Port of the egress proxy."""

HTTPS_PORT = 443

CONNECTIONS_OF_ONE_CLIENT = 64
"""Most connections of one server at once: pip takes about 10, a browser's worth of downloads 30."""

TRANSLATED_RANGES = ("::/128", "::1/128", "64:ff9b::/96", "2002::/16", "ff00::/8")
"""IPv6 ranges that lead to this machine, to IPv4 or to many (RFC 6890, 6052, 3056)."""


def squid_configuration(domains: Iterable[str], excluded: Iterable[str] = ()) -> str:
    """Squid's configuration: HTTPS tunnels to `domains`, but to no address in `NEVER_REACHED` or `excluded`.

    A name that resolves to such an address is refused, whoever owns the name; what guards the proxy's network refuses
    the packet once more, should the name resolve otherwise a moment later.
    """
    names = " ".join(_fewest(domains))
    ranges = "\n".join(f"acl never_reached dst {text}" for text in (*NEVER_REACHED, *TRANSLATED_RANGES, *excluded))
    # -n: an address is never looked up to see whether its owner calls it by one of the names.
    named = f"acl named dstdomain -n {names}\nhttp_access deny !named" if names else "http_access deny all"
    return f"""# Written by components/egress_proxy.py.
http_port {PROXY_PORT}
visible_hostname egress-proxy

acl tunnel method CONNECT
acl https port {HTTPS_PORT}
acl too_many maxconn {CONNECTIONS_OF_ONE_CLIENT}
{ranges}
http_access deny !tunnel
http_access deny !https
{named}
http_access deny too_many
http_access deny never_reached
http_access allow all

# Nothing is kept, and nothing is told about clients.
cache deny all
cache_mem 0
memory_cache_shared off
forwarded_for delete
via off
httpd_suppress_version_string on
pinger_enable off
icp_port 0
htcp_port 0
snmp_port 0

# One line for each tunnel, when it ends; probes that only connect leave none. `%ru` of a tunnel is name and port, of
# anything else an address without its query.
strip_query_terms on
acl asked has request
logformat tunnels time=%{{%Y-%m-%dT%H:%M:%SZ}}tg client=%>a method=%rm to=%ru status=%>Hs bytes=%<st ms=%tr result=%Ss
access_log stdio:/dev/stdout tunnels asked
cache_log /dev/stderr
cache_store_log none

# A read-only root and few connections: no files, and no tables for a million descriptors.
pid_filename none
coredump_dir none
netdb_filename none
max_filedescriptors 4096
dns_timeout 10 seconds
connect_timeout 10 seconds
client_lifetime 12 hours
shutdown_lifetime 5 seconds
"""


def _fewest(domains: Iterable[str]) -> list[str]:
    """The domains without those that another one covers, which squid refuses as a contradiction."""
    given = sorted(set(domains))
    wide = tuple(domain for domain in given if domain.startswith("."))
    return [
        domain
        for domain in given
        if not any(f".{domain.removeprefix('.')}".endswith(other) and domain != other for other in wide)
    ]
