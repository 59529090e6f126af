"""What each check of containers and networks says, beside what `test_checks.py` has on services as well."""

from policies.container_group import ICC, MASQUERADE
from policies.egress.nodes import FORBIDDEN
from policies.resource_types import CONTAINER, NETWORK
from tests.policies.docker_cases import GUARD, administered, container, guarding, network, of_role, service
from tests.policies.rows import UNKNOWN, Rows

CONTAINER_ROWS = {
    "container-log-limit": Rows(
        CONTAINER,
        [container(logOpts={"max-size": "5m"}), container(logDriver="local"), container(logDriver="journald")],
        [container(logDriver="json-file", logOpts={"max-file": "2"}), container(logOpts={"max-size": ""})],
        container(),
        container(logOpts=UNKNOWN),
    ),
    "container-default-bridge": Rows(
        CONTAINER,
        [
            container(networkMode="none"),
            container(networkMode="stack-edge"),
            container(networksAdvanced=[{"name": "edge"}]),
        ],
        [
            container(networkMode="bridge"),
            container(networkMode="default"),
            container(networksAdvanced=[{"name": "edge"}, {"name": "bridge"}]),
            container(networksAdvanced=[]),
        ],
        container(),
        container(networksAdvanced=[{"name": UNKNOWN}]),
    ),
    "container-capabilities-dropped": Rows(
        CONTAINER,
        [container(capabilities={"drops": ["ALL"]})],
        [container(capabilities={"drops": ["NET_RAW"]})],
        container(),
        container(capabilities={"drops": UNKNOWN}),
    ),
    "container-no-new-privileges": Rows(
        CONTAINER,
        [container(securityOpts=["no-new-privileges"]), container(securityOpts=["x", "no-new-privileges:true"])],
        [container(securityOpts=["no-new-privileges:false"]), container(securityOpts=["seccomp=unconfined"])],
        container(),
        container(securityOpts=UNKNOWN),
    ),
    "container-health-check": Rows(
        CONTAINER,
        [container(healthcheck={"tests": ["CMD", "true"]})],
        [container(healthcheck={"tests": ["NONE"]}), container(healthcheck={"tests": []})],
        container(),
        container(healthcheck=UNKNOWN),
    ),
    "network-icc": Rows(
        NETWORK,
        [network(), network("servers-network", options={ICC: "false"})],
        [network("servers-network", options={ICC: "true"}), network("servers-network", options={MASQUERADE: "false"})],
        network("servers-network"),
        network("servers-network", options=UNKNOWN),
    ),
    "network-masquerade": Rows(
        NETWORK,
        [network(), network("servers-network", options={MASQUERADE: "False"})],
        [network("servers-network", options={MASQUERADE: ""}), network("servers-network", options={ICC: "false"})],
        network("servers-network"),
        network("servers-network", options={MASQUERADE: UNKNOWN}),
    ),
    "guard-ranges": Rows(
        CONTAINER,
        [
            container(),
            guarding("0.0.0.0/0", "::/0"),
            guarding(*FORBIDDEN, "--port=443"),
            guarding("0.0.0.0/0", "::/0", "--egress-proxy=10.0.0.3:3128"),
            of_role("proxy", *GUARD),
        ],
        [
            guarding("0.0.0.0/0"),
            guarding("0.0.0.0/1", "128.0.0.0/1", "::/0"),
            guarding("10.0.0.0/8", "::/0"),
            guarding("everything"),
            guarding("10.0.0.0/8", "--port=443"),
            guarding("--port=443"),
            guarding(*FORBIDDEN, "--ports=443"),
            of_role("egress-proxy-guard", *GUARD, "--port=443", "egress0", "10.0.4.0/26", "10.0.0.0/8"),
            of_role("egress-guard", *GUARD, "servers0"),
            service({"args": [*GUARD, "open0", "10.0.0.0/22", *FORBIDDEN]}, role="egress-guard"),
        ],
        of_role("egress-guard", *GUARD),
        guarding(UNKNOWN),
    ),
    "guard-ports": Rows(
        CONTAINER,
        [
            container(),
            guarding("0.0.0.0/0", "::/0"),
            guarding(*FORBIDDEN, "--port=22", "--port=65535"),
            of_role("egress-proxy-guard", *GUARD, "--port=443", "egress0", "10.0.4.0/26", *FORBIDDEN),
            of_role("proxy", *GUARD, "--port=25", "servers0", "10.0.0.0/22"),
            guarding(UNKNOWN),
        ],
        [
            *(
                guarding(*FORBIDDEN, f"--port={port}")
                for port in ("25", "53", "853", "0", "65536", "https", "443:65535")
            ),
            of_role("egress-proxy-guard", *GUARD, "egress0", "10.0.4.0/26", *FORBIDDEN),
            of_role("egress-proxy-guard", *GUARD, "--port=443", "--port=80", "egress0", "10.0.4.0/26", *FORBIDDEN),
            service({"args": [*GUARD, "--port=25", "open0", "10.0.0.0/22", *FORBIDDEN]}, role="egress-guard"),
        ],
        None,
        None,
    ),
    "node-admin-loopback": Rows(
        CONTAINER,
        [administered("127.0.0.1"), administered("::1"), container(ports=[{"internal": 1, "external": 1}])],
        [administered("0.0.0.0"), administered("10.0.0.1"), administered("localhost")],
        administered(None),
        administered(UNKNOWN),
    ),
}
